"""Fully connected networks: LeNet-300-100 and its small sisters.

LeNet-300-100 is the network of LeCun et al., "Gradient-based learning applied to document
recognition", 1998, on which Deep Compression (Han et al., ICLR 2016) reports 40x.
"""

from collections.abc import Sequence

from torch import nn

__all__ = ["DIGITS", "LENET_300_100", "perceptron"]

LENET_300_100 = (784, 300, 100, 10)
DIGITS = (64, 100, 50, 10)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU between each two, with PyTorch's initial weights.

    The weights come from PyTorch's global generator: seed it for a network that can be had again.

    Parameters
    ----------
    widths : sequence of int
        Number of inputs, then of outputs of each layer. At least two, all positive.

    Returns
    -------
    nn.Sequential
        ``Linear, ReLU, ..., Linear``.

    Raises
    ------
    ValueError
        If there are fewer than two widths.
    TypeError
        If a width is not a positive integer.

    Examples
    --------
    >>> perceptron((784, 300, 10))
    Sequential(
      (0): Linear(in_features=784, out_features=300, bias=True)
      (1): ReLU()
      (2): Linear(in_features=300, out_features=10, bias=True)
    )
    """
    if len(widths) < 2:
        raise ValueError(f"widths must be at least an input and an output, not {widths!r}")
    for width in widths:
        if not isinstance(width, int) or width < 1:
            raise TypeError(f"widths must be positive integers, not {width!r}")

    modules: list[nn.Module] = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*modules[:-1])
