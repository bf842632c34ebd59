"""Bytes of a network before it is an image, counted as Deep Compression counts them."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["dense_bytes", "entry_bits", "pruned_bytes", "shared_bytes"]


def dense_bytes(weights: Sequence[Tensor], others: Sequence[Tensor]) -> int:
    """Bytes of a network that stores every weight and all else, such as biases, as a float32.

    Examples
    --------
    >>> dense_bytes([torch.zeros(10, 100)], [torch.zeros(10)])
    4040
    """
    return 4 * sum(tensor.numel() for tensor in [*weights, *others])


def pruned_bytes(masks: Sequence[Tensor], others: Sequence[Tensor]) -> int:
    """Bytes of a pruned network: float32 values with relative indices, all else as float32.

    Parameters
    ----------
    masks : sequence of Tensor of bool, ``(outputs, ...)`` each
        Which weights are stored.
    others : sequence of Tensor
        Biases and the like, always stored whole.
    """
    entries = sum(-(-entry_bits(mask, 32) // 8) for mask in masks)
    return entries + dense_bytes([], others)


def shared_bytes(masks: Sequence[Tensor], others: Sequence[Tensor], bits: Sequence[int]) -> int:
    """Bytes of a shared network: codes with relative indices, float32 codebooks and all else.

    Parameters
    ----------
    masks, others
        As for :func:`pruned_bytes`.
    bits : sequence of int
        Width of the codes of each layer. A codebook has ``2**bits - 1`` values.
    """
    entries = sum(
        -(-entry_bits(mask, width) // 8) + 4 * (2**width - 1)
        for mask, width in zip(masks, bits, strict=True)
    )
    return entries + dense_bytes([], others)


def entry_bits(mask: Tensor, value_bits: int) -> int:
    """Bits of the entries of a layer, each a value and the number of zeros before it.

    The matrix is read column by column. Where more zeros come than the count can hold, a filler
    entry whose value is 0 takes up the rest: Deep Compression, section 2. That paper counts in
    5 bits, for densities about 8 %; here the width is the one that makes the layer smallest.

    Parameters
    ----------
    mask : Tensor of bool, ``(outputs, ...)``
        Which weights are stored. All that is behind the first index is a row.
    value_bits : int
        Width of a value.

    Returns
    -------
    int
        Fillers included.

    Examples
    --------
    Three zeros and a weight, twice: two entries of 8 + 2 bits.

    >>> entry_bits(torch.tensor([[0, 0, 0, 1, 0, 0, 0, 1]]).bool(), 8)
    20
    """
    positions = mask.flatten(1).T.flatten().nonzero().flatten()
    zeros = positions.diff(prepend=torch.tensor([-1])) - 1
    return min(
        (width + value_bits) * (len(zeros) + int((zeros >> width).sum())) for width in range(17)
    )
