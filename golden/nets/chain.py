"""Networks whose layers follow each other, as a recipe names them."""

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from golden.nets.steps import Step, steps

__all__ = ["chain"]


def chain(entries: Sequence[int | str]) -> nn.Sequential:
    """Layers with PyTorch's initial weights, a ReLU after each that has weights but the last.

    The weights come from PyTorch's global generator: seed it for a network that can be had again.

    Parameters
    ----------
    entries : sequence of int or str
        The input, and a step for each layer: see :mod:`golden.nets.steps`.

    Returns
    -------
    nn.Sequential
        For inputs ``(n, inputs)``, or ``(n, channels, height, width)`` if they are pictures.

    Raises
    ------
    ValueError
        If a layer does not fit what it takes.

    Examples
    --------
    >>> chain((784, 300, 10))
    Sequential(
      (fc1): Linear(in_features=784, out_features=300, bias=True)
      (relu1): ReLU()
      (fc2): Linear(in_features=300, out_features=10, bias=True)
    )
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    found = steps(entries)
    weighted = [step for step in found if step.has_weights]
    for step in found:
        if step.kind == "fc" and len(step.taken) == 3:
            modules["flatten"] = nn.Flatten()
        modules[step.name] = _module(step)
        if step in weighted[:-1]:
            modules[f"relu{weighted.index(step) + 1}"] = nn.ReLU()
    return nn.Sequential(modules)


def _module(step: Step) -> nn.Module:
    if step.kernel is None:
        return nn.Linear(math.prod(step.taken), step.made[0])
    if step.kind == "conv":
        padding = (step.kernel[0] // 2, step.kernel[1] // 2) if step.same else (0, 0)
        return nn.Conv2d(step.taken[2], step.made[2], step.kernel, padding=padding)
    return nn.MaxPool2d(step.kernel) if step.kind == "max" else nn.AvgPool2d(step.kernel)
