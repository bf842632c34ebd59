"""Golden model of a whole network: the layers of an image, one after the other."""

from collections.abc import Iterator

import torch
from torch import Tensor

from golden import convolution, joining, pooling, sparse
from golden.image import Network
from golden.layers import Addition, Concatenation, Convolution, FullyConnected, Pooling

__all__ = ["answers", "batch_size", "run"]

# Activations at a time: 2**23 take 64 MiB, and as many their accumulators.
_BATCH = 2**23


def run(network: Network, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Accumulators and activations of every layer, for a batch of inputs.

    Parameters
    ----------
    network : Network
        What to run.
    inputs : Tensor of a signed integer dtype, ``(batch, network.inputs)``
        Input activations at ``network.input_radix``, within ``network.activation_width`` bits.
        Feature maps are flat, in the order of memory: channels last.

    Returns
    -------
    list of tuple of Tensor
        For each layer, accumulators and output activations, both int64 ``(batch, activations)``,
        flat as the inputs are; ``network.shapes[k + 1]`` is the shape of the ``k``-th, counted
        from 0. The answer is ``run(...)[-1][1]``.

    Raises
    ------
    TypeError
        If ``inputs`` is not of a signed integer dtype.
    ValueError
        If ``inputs`` has another shape, or a value beyond the activations' bits.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from golden.nets.random import random_network
    >>> network = random_network(np.random.default_rng(1), shape=(4, 3, 2))
    >>> results = run(network, torch.tensor([[100, -5, 0, 7]]))
    >>> [tuple(outputs.shape) for accumulators, outputs in results]
    [(1, 3), (1, 2)]
    """
    return list(_steps(network, inputs))


def answers(network: Network, inputs: Tensor) -> Tensor:
    """What the last layer puts out, int64 ``(batch, network.outputs)``: see :func:`run`.

    It takes little memory: inputs are run a few at a time, and no activations are kept longer than
    until the last layer that takes them.
    """
    parts = []
    # A batch of none has answers too: none.
    for part in inputs.split(batch_size(network)) if len(inputs) else [inputs]:
        for _, outputs in _steps(network, part):
            last = outputs
        parts.append(last)
    return torch.cat(parts)


def batch_size(network: Network) -> int:
    """How many inputs to run at a time for all tensors to take little memory; 1 at least."""
    return max(1, _BATCH // network.activations)


def _steps(network: Network, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    if inputs.dim() != 2 or inputs.shape[1] != network.inputs:
        raise ValueError(
            f"inputs must be of shape (batch, {network.inputs}), not {tuple(inputs.shape)!r}"
        )
    last_use = {k: index for index, own in enumerate(network.sources) for k in own}
    tensors = {0: inputs}
    width = network.activation_width
    for index, (layer, own) in enumerate(zip(network.layers, network.sources, strict=True)):
        shift = network.shifts[index]
        flat = [tensors[k] for k in own]
        taken = [x.reshape(len(x), *network.shapes[k]) for x, k in zip(flat, own, strict=True)]
        match layer:
            case FullyConnected():
                result = sparse.layer(layer, flat[0], shift=shift, width=width)
            case Convolution():
                result = convolution.layer(layer, taken[0], shift=shift, width=width)
            case Pooling():
                result = pooling.layer(layer, taken[0], shift=shift, width=width)
            case Addition() | Concatenation():
                radixes = [network.radixes[k] for k in own]
                result = joining.layer(layer, taken, radixes=radixes, shift=shift, width=width)
            case _:
                raise AssertionError(layer)
        accumulators, outputs = (x.flatten(1) for x in result)
        yield accumulators, outputs
        tensors[index + 1] = outputs
        tensors = {k: x for k, x in tensors.items() if last_use.get(k, -1) > index}
