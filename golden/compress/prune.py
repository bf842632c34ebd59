"""Magnitude pruning: the smallest weights of a layer go, and the rest is trained again.

After Han et al., "Learning both weights and connections for efficient neural networks", NIPS 2015.
"""

import torch
from torch import Tensor

__all__ = ["density_at", "keep"]


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
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, not {density!r}")
    count = max(1, round(density * weights.numel()))
    # A stable sort, so that ties fall the same way on every machine.
    order = weights.detach().abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(weights.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view_as(weights)
