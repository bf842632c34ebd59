"""A second opinion on the golden model: the same integers from PyTorch's own layers, in float64.

It shares nothing with :mod:`golden.network` but what layers say of themselves: convolutions,
pooling and matrix products are those of :mod:`torch.nn.functional`, with channels first, and
rounding is PyTorch's. All sums stay below ``2**53``, so that float64 holds them exactly.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from golden.fixed import limits
from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    Layer,
    Network,
    Pooling,
    Shape,
    Weighted,
    Windowed,
)

__all__ = ["run"]


def run(network: Network, inputs: Tensor) -> list[Tensor]:
    """Output activations of every layer, for a batch of inputs.

    Parameters
    ----------
    network : Network
        What to run.
    inputs : Tensor of a signed integer dtype, ``(batch, network.inputs)``
        As for :func:`golden.network.run`.

    Returns
    -------
    list of Tensor of int64, ``(batch, activations)``
        In the order of :func:`golden.network.run`: feature maps with channels last.

    Examples
    --------
    >>> from golden.nets.random import random_network
    >>> network = random_network(np.random.default_rng(1), shape=(4, 3, 2))
    >>> [tuple(outputs.shape) for outputs in run(network, torch.tensor([[100, -5, 0, 7]]))]
    [(1, 3), (1, 2)]
    """
    tensors = [_channels_first(inputs.double(), network.input_shape)]
    results = []
    for index, (layer, own) in enumerate(zip(network.layers, network.sources, strict=True)):
        sums = _sums(layer, [tensors[k] for k in own], [network.radixes[k] for k in own])
        # Division by a power of two is exact, and PyTorch rounds half to even.
        rounded = (sums / 2.0 ** network.shifts[index]).round()
        low, high = limits(network.activation_width, layer.activation)
        tensors.append(rounded.clamp(low, high))
        last = tensors[-1].movedim(1, -1)
        results.append(last.flatten(1).long())
    return results


def _channels_first(flat: Tensor, shape: Shape) -> Tensor:
    return flat.unflatten(1, shape).movedim(-1, 1)


def _sums(layer: Layer, taken: list[Tensor], radixes: list[int]) -> Tensor:
    match layer:
        case FullyConnected():
            return functional.linear(taken[0].movedim(1, -1).flatten(1), *_parameters(layer))
        case Convolution():
            matrix, bias = _parameters(layer)
            kernels = matrix.unflatten(1, (*layer.kernel, -1)).movedim(3, 1)
            padded = _padded(layer, taken[0], 0.0, ceil=False)
            return functional.conv2d(
                padded, kernels, bias, stride=layer.stride, groups=layer.groups
            )
        case AveragePooling():
            padded = _padded(layer, taken[0], 0.0, ceil=layer.ceil_mode)
            sums = functional.avg_pool2d(padded, layer.kernel, layer.stride, divisor_override=1)
            height, width = taken[0].shape[2:]
            rows, columns = layer.areas((height, width, taken[0].shape[1]))
            return sums * torch.from_numpy(layer.reciprocal(np.outer(rows, columns)).astype(float))
        case Pooling():
            padded = _padded(layer, taken[0], -torch.inf, ceil=layer.ceil_mode)
            return functional.max_pool2d(padded, layer.kernel, layer.stride)
        case Addition():
            shifts = layer.alignment(*radixes)
            return taken[0] * 2.0 ** shifts[0] + taken[1] * 2.0 ** shifts[1]
        case Concatenation():
            return torch.cat(taken, dim=1)
        case _:
            raise AssertionError(layer)


def _parameters(layer: Weighted) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(layer.dense().astype(float)), torch.from_numpy(layer.bias.astype(float))


def _padded(layer: Windowed, x: Tensor, value: float, *, ceil: bool) -> Tensor:
    """``x`` with what its windows need around it. What none of them reaches makes no other."""
    channels, *sides = x.shape[1:]
    counts = layer.positions((sides[0], sides[1], channels), ceil=ceil)
    edges: list[int] = []
    for axis in 1, 0:
        before = layer.padding[axis]
        reach = (counts[axis] - 1) * layer.stride[axis] + layer.kernel[axis]
        edges += [before, max(0, reach - before - sides[axis])]
    return functional.pad(x, edges, value=value)
