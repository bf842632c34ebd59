"""Pruning of a network that is not trained again: each layer as far as the loss allows.

Layers differ in what pruning does to them: Han et al., "Learning both weights and connections for
efficient neural networks", NIPS 2015, figure 6. So each is pruned to several densities, all others
whole, and the loss measured. The layers' losses are taken to add up; then there is one price for a
weight, the same in all layers, at which the network is the smallest for a given loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from golden.compress.model import Free, Model
from golden.compress.prune import keep

__all__ = ["DENSITIES", "choose", "prune", "sensitivity"]

DENSITIES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.12, 0.09, 0.07, 0.05)
"""Densities to try, each about as far from the next."""


def sensitivity(model: Model, x: Tensor, y: Tensor, densities: Sequence[float]) -> Tensor:
    """What the loss gains when one layer is pruned by magnitude.

    Parameters
    ----------
    model : Model
        The network; it stays as it is.
    x : Tensor of float32, ``(n, inputs)``
        Training inputs.
    y : Tensor of int64, ``(n,)``
        Their classes.
    densities : sequence of float
        Shares of the weights to keep.

    Returns
    -------
    Tensor of float64, ``(layers, densities)``
        Nats of the mean cross entropy.
    """
    before = _loss(model, x, y)
    gains = torch.zeros(len(model.weights), len(densities), dtype=torch.float64)
    for index, weights in enumerate(model.weights):
        whole = weights.detach().clone()
        for column, density in enumerate(densities):
            with torch.no_grad():
                weights.copy_(whole * keep(whole, density))
                gains[index, column] = _loss(model, x, y) - before
                weights.copy_(whole)
    return gains


def choose(
    gains: Tensor, sizes: Sequence[int], densities: Sequence[float], budget: float
) -> list[float]:
    """The densities that keep the fewest weights for a given gain of the loss.

    Parameters
    ----------
    gains : Tensor of float64, ``(layers, densities)``
        What :func:`sensitivity` has found.
    sizes : sequence of int
        Weights of each layer.
    densities : sequence of float
        The densities that were tried; 1 must be among them.
    budget : float
        What the layers' gains may add up to, in nats.

    Returns
    -------
    list of float
        A density for each layer.

    Examples
    --------
    The second layer has more weights, and misses them less.

    >>> gains = torch.tensor([[0, 0.1, 0.4], [0, 0.01, 0.02]])
    >>> choose(gains, [100, 1000], [1, 0.5, 0.1], 0.1)
    [1, 0.1]
    """
    shares = torch.tensor(densities, dtype=torch.float64)
    kept = torch.tensor(sizes, dtype=torch.float64)[:, None] * shares
    best = [float(shares.max())] * len(sizes)
    fewest = float("inf")
    # A pruned layer may happen to be better than the whole one, which nothing is to be bought by.
    prices = gains.clamp(min=0)
    for exponent in range(-20, 60):
        # Weights that a nat is worth.
        columns = (kept + 2.0**exponent * prices).argmin(dim=1, keepdim=True)
        total = float(kept.gather(1, columns).sum())
        if float(prices.gather(1, columns).sum()) <= budget and total < fewest:
            fewest = total
            best = [densities[column] for column in columns.flatten().tolist()]
    return best


def prune(model: Model, densities: Sequence[float]) -> None:
    """Prune each layer by magnitude, in place."""
    model.masks = [
        keep(weights, density) for weights, density in zip(model.weights, densities, strict=True)
    ]
    Free(model).settle()


def _loss(model: Model, x: Tensor, y: Tensor) -> float:
    return float(functional.cross_entropy(model.outputs(x).double(), y))
