"""Weight sharing: k-means in one dimension, and the gradient of a shared value.

After Han et al., "Deep Compression", ICLR 2016, section 3.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["codebook_gradient", "k_means", "linear_start", "share"]


def linear_start(values: np.ndarray, count: int) -> np.ndarray:
    """Centroids spaced evenly from the least to the greatest value.

    Of the starts that Deep Compression compares in section 3.2 this one keeps the large weights
    best, of which there are few, and which matter most.

    Parameters
    ----------
    values : ndarray of a floating-point dtype, ``(n,)``
        What is to be clustered, at least one value.
    count : int
        Number of centroids.

    Returns
    -------
    ndarray of float64, ``(count,)``
        Ascending.

    Examples
    --------
    >>> linear_start(np.array([0.0, 0.1, 3.0]), 4)
    array([0., 1., 2., 3.])
    """
    return np.linspace(values.min(), values.max(), count, dtype=np.float64)


def k_means(
    values: np.ndarray, start: np.ndarray, *, iterations: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers around centroids: Lloyd's algorithm in one dimension.

    The values are sorted once. Each iteration then finds the borders of the clusters by binary
    search, and their means by differences of running sums, in O(k log n). A centroid that no value
    is nearest to stays where it is.

    Parameters
    ----------
    values : ndarray of a floating-point dtype, ``(n,)``
        What is to be clustered.
    start : ndarray of a floating-point dtype, ``(k,)``
        First centroids, ascending.
    iterations : int
        Bound on the iterations; it ends earlier as soon as no value changes its cluster.

    Returns
    -------
    centroids : ndarray of float64, ``(k,)``
        Mean of each cluster, ascending.
    labels : ndarray of int64, ``(n,)``
        Cluster of each value, 0 to k - 1: that of the nearest centroid, the lower of two equally
        near ones.

    Raises
    ------
    ValueError
        If there are no values, or ``start`` does not ascend.

    Examples
    --------
    >>> k_means(np.array([1.0, 9.0, 2.0, 8.0, 1.5]), np.array([0.0, 3.0]))
    (array([1.5, 8.5]), array([0, 1, 0, 1, 0]))
    """
    if len(values) == 0:
        raise ValueError("values must not be empty")
    if len(start) == 0 or (np.diff(start) < 0).any():
        raise ValueError(f"start must ascend, not {start!r}")

    order = np.argsort(values, kind="stable")
    ascending = values[order].astype(np.float64)
    # The mean taken off first, the running sums lose nothing to an offset common to all values.
    offset = ascending.mean()
    ascending -= offset
    sums = np.concatenate([[0.0], np.cumsum(ascending)])
    centroids = start.astype(np.float64) - offset
    borders = np.empty(0, np.int64)
    for _ in range(iterations):
        previous, borders = borders, _borders(ascending, centroids)
        if np.array_equal(previous, borders):
            break
        counts = np.diff(borders)
        means = np.diff(sums[borders]) / np.maximum(counts, 1)
        # Rounding may put a mean just above the empty cluster that follows.
        centroids = np.maximum.accumulate(np.where(counts > 0, means, centroids))

    labels = np.empty(len(values), np.int64)
    labels[order] = np.repeat(np.arange(len(start)), np.diff(_borders(ascending, centroids)))
    return centroids + offset, labels


def _borders(ascending: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Where each cluster starts in ``ascending``, and where the last one ends."""
    middles = (centroids[:-1] + centroids[1:]) / 2
    inner = np.searchsorted(ascending, middles, side="right")
    return np.concatenate([[0], inner, [len(ascending)]])


def share(weights: Tensor, mask: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes and codebook of a pruned layer.

    Parameters
    ----------
    weights : Tensor of float32, any shape
        Weights.
    mask : Tensor of bool, the shape of ``weights``
        Which are kept, at least one.
    bits : int
        Width of a code, 2 to 8.

    Returns
    -------
    codes : Tensor of int64, the shape of ``weights``
        0 where ``mask`` is False, else 1 to ``2**bits - 1``.
    codebook : Tensor of float32, ``(2**bits,)``
        Value of each code, that of 0 being 0.

    Raises
    ------
    ValueError
        If ``bits`` is out of range, or no weight is kept.

    Examples
    --------
    >>> share(torch.tensor([[0.0, 1.0], [-1.0, 3.0]]), torch.tensor([[False, True], [True, True]]),
    ...       bits=2)
    (tensor([[0, 2],
            [1, 3]]), tensor([ 0., -1.,  1.,  3.]))
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be 2 to 8, not {bits!r}")
    values = weights.detach()[mask].numpy()
    if len(values) == 0:
        raise ValueError("mask must keep at least one weight")
    centroids, labels = k_means(values, linear_start(values, 2**bits - 1))
    codes = torch.zeros(weights.shape, dtype=torch.int64)
    codes[mask] = torch.from_numpy(labels) + 1
    codebook = torch.zeros(2**bits)
    codebook[1:] = torch.from_numpy(centroids)
    return codes, codebook


def codebook_gradient(gradient: Tensor, codes: Tensor, size: int) -> Tensor:
    """Gradient of each shared value: the sum over the weights that share it.

    Deep Compression, section 3.3, equation 3.

    Parameters
    ----------
    gradient : Tensor of float32, any shape
        Gradient of every weight as if it were free.
    codes : Tensor of int64, the shape of ``gradient``
        Code of every weight.
    size : int
        Number of codes.

    Returns
    -------
    Tensor of float32, ``(size,)``
        The first is 0: code 0 is no weight, so nothing may move it.

    Examples
    --------
    >>> codebook_gradient(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 1, 1]]), 4)
    tensor([0., 6., 0., 0.])
    """
    sums = torch.zeros(size).index_add_(0, codes.flatten(), gradient.flatten())
    sums[0] = 0
    return sums
