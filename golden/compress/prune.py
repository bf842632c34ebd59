"""Magnitude pruning: the smallest weights of a layer go, and the rest is trained again.

After Han et al., "Learning both weights and connections for efficient neural networks", NIPS 2015.
Which weights are compared with each other is the *pattern*: all those of a layer (:func:`keep`),
those that one processing element has in one column (:func:`keep_balanced`), or those in a short
piece of a column (:func:`keep_of_each`). The patterns are for an engine that takes one activation
at a time, so it is columns in which they make work even.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["density_at", "keep", "keep_balanced", "keep_of_each"]


def density_at(target: float, step: int, steps: int) -> float:
    """Density after a step of gradual pruning.

    The density falls from 1 to ``target`` along a cubic, steeply while there is much to spare and
    gently towards the end: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.

    Parameters
    ----------
    target : float
        Density after the last step, 0 to 1.
    step : int
        Steps done, 0 to ``steps``.
    steps : int
        Steps in all, at least 1.

    Returns
    -------
    float
        Share of the weights to keep.

    Examples
    --------
    >>> [density_at(0.25, step, 4) for step in range(5)]
    [1.0, 0.56640625, 0.34375, 0.26171875, 0.25]
    """
    return target + (1 - target) * (1 - step / steps) ** 3


def keep(weights: Tensor, density: float) -> Tensor:
    """The weights of greatest magnitude.

    Parameters
    ----------
    weights : Tensor of float32, any shape
        Weights of one layer.
    density : float
        Share to keep, above 0 and at most 1.

    Returns
    -------
    Tensor of bool, the shape of ``weights``
        True for exactly ``round(density * weights.numel())`` weights, at least one. Of equally
        great ones the first are kept.

    Raises
    ------
    ValueError
        If ``density`` is out of range.

    Examples
    --------
    >>> keep(torch.tensor([[0.5, -3.0], [1.0, -1.0]]), 0.5)
    tensor([[False,  True],
            [ True, False]])
    """
    _check_density(density)
    count = max(1, round(density * weights.numel()))
    # A stable sort, so that ties fall the same way on every machine.
    order = weights.detach().abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(weights.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view(weights.shape)


def keep_balanced(weights: Tensor, density: float, elements: int) -> Tensor:
    """The weights of greatest magnitude such that elements have equal work for any activations.

    Row ``r`` belongs to element ``r % elements``. In each column every element keeps the same
    number of weights, the greatest that it has there. A number that is not whole is met by keeping
    ``n`` in some of the columns and ``n + 1`` in all others: in those where the weights that come
    next have the greatest sum. What is even for so many elements is so for any divisor of them.

    This is the load-balance-aware pruning of Han et al., "ESE", FPGA 2017, in each column and not
    in the matrix as a whole; and the bank-balanced sparsity of Cao et al., FPGA 2019, whose banks
    are parts of a row, turned to the columns.

    Parameters
    ----------
    weights : Tensor of float32, ``(outputs, inputs)``
        Weights of one layer.
    density : float
        Share to keep, above 0 and at most 1.
    elements : int
        How many elements share the rows. If there are no more rows than these, none can have more
        work in a column than the cycle it takes to scan it, and the weights are those of
        :func:`keep`.

    Returns
    -------
    Tensor of bool, the shape of ``weights``
        True for ``round(density * weights.numel() / elements)`` weights of each element, at least
        one. If rows are left over, some elements have one more than others; only where that one is
        kept too, a column is not even. Of equally great weights the first are kept, and of columns
        as well.

    Raises
    ------
    ValueError
        If ``density`` or ``elements`` is out of range.

    Examples
    --------
    >>> keep_balanced(torch.tensor([[4.0, 3.0], [0.0, 2.0], [5.0, 0.0], [1.0, 0.0]]), 0.5, 2)
    tensor([[False,  True],
            [False,  True],
            [ True, False],
            [ True, False]])
    """
    _check_density(density)
    if elements < 1:
        raise ValueError(f"elements must be at least 1, not {elements!r}")
    rows, columns = weights.shape
    if rows <= elements:
        return keep(weights, density)
    parts = _magnitudes(weights, -(-rows // elements) * elements).view(-1, elements, columns)
    values, order = parts.sort(dim=0, descending=True, stable=True)

    # Counts of all columns added up; the last one of a column may be for those with one more row.
    total = round(density * weights.numel())
    even, left = rows // elements * columns, rows % elements
    count = max(1, round(total / elements))
    if total > even * elements:
        count = even + round((total - even * elements) / left)
    least, more = divmod(count, columns)
    counts = torch.full((columns,), least)
    if more:
        gains = values[least].clamp(min=0).sum(dim=0)
        counts[gains.sort(descending=True, stable=True).indices[:more]] += 1
    kept = torch.arange(len(parts))[:, None, None] < counts
    mask = torch.zeros(parts.shape, dtype=torch.bool)
    return mask.scatter_(0, order, kept.expand_as(mask)).view(-1, columns)[:rows]


def keep_of_each(weights: Tensor, kept: int, of: int) -> Tensor:
    """The ``kept`` weights of greatest magnitude of each ``of`` that follow each other in a column.

    That is N:M sparsity, along a column: whoever owns whole pieces has, in each column, ``kept``
    weights for each, so elements have equal work for any activations if the pieces of a column can
    be shared out equally, among however many elements. Along a row, which is what Mishra et al.
    have in "Accelerating sparse deep neural networks", 2021, it is rows that have equally many.

    Parameters
    ----------
    weights : Tensor of float32, ``(outputs, inputs)``
        Weights of one layer.
    kept : int
        Weights to keep of each piece, 1 to ``of``.
    of : int
        Weights in a piece. The last piece of a column may be shorter; it keeps its share, rounded
        up.

    Returns
    -------
    Tensor of bool, the shape of ``weights``
        Of equally great weights the first are kept.

    Raises
    ------
    ValueError
        If ``kept`` is out of range.

    Examples
    --------
    >>> keep_of_each(torch.tensor([[1.0], [3.0], [2.0], [0.0], [5.0]]), 1, 2).flatten()
    tensor([False,  True,  True, False,  True])
    """
    if not 1 <= kept <= of:
        raise ValueError(f"kept must be 1 to {of}, not {kept!r}")
    rows, columns = weights.shape
    pieces = _magnitudes(weights, -(-rows // of) * of).view(-1, of, columns)
    order = pieces.sort(dim=1, descending=True, stable=True).indices
    counts = torch.full((len(pieces), 1, 1), kept)
    counts[-1] = -(-kept * (rows - (len(pieces) - 1) * of) // of)
    mask = torch.zeros(pieces.shape, dtype=torch.bool)
    mask.scatter_(1, order, (torch.arange(of)[:, None] < counts).expand_as(mask))
    return mask.view(-1, columns)[:rows]


def _check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, not {density!r}")


def _magnitudes(weights: Tensor, rows: int) -> Tensor:
    """Magnitudes, with rows added that come after all others."""
    return functional.pad(weights.detach().abs(), (0, 0, 0, rows - len(weights)), value=-1)
