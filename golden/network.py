"""Golden model of a whole network: the layers of an image, one after the other."""

from torch import Tensor

from golden import sparse
from golden.image import Network

__all__ = ["run"]


def run(network: Network, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Accumulators and activations of every layer, for a batch of inputs.

    Parameters
    ----------
    network : Network
        What to run.
    inputs : Tensor of a signed integer dtype, ``(batch, network.inputs)``
        Input activations at ``network.input_radix``, within ``network.activation_width`` bits.

    Returns
    -------
    list of tuple of Tensor
        For each layer, accumulators and output activations as :func:`golden.sparse.layer`
        returns them, both int64 ``(batch, outputs)``. The answer is ``run(...)[-1][1]``.

    Raises
    ------
    TypeError, ValueError
        As :func:`golden.sparse.layer` does for its inputs.

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
    results = []
    for layer, shift in zip(network.layers, network.shifts, strict=True):
        accumulators, inputs = sparse.layer(
            layer, inputs, shift=shift, width=network.activation_width
        )
        results.append((accumulators, inputs))
    return results
