"""Golden model of :mod:`hdl.sparse`: a fully connected layer with shared, sparse weights.

Every accumulator is an exact integer: bias plus the sum of weight times activation. It becomes an
output activation in one step, :func:`golden.fixed.requantise`.
"""

import numpy as np
import torch
from torch import Tensor

from golden.fixed import check_within, limits, requantise
from golden.layers import FullyConnected, Weighted

__all__ = ["accumulate", "layer"]

# Weights are spread out a block of columns at a time: 2**22 float64 take 32 MiB.
_BLOCK = 2**22


def layer(
    layer: FullyConnected, inputs: Tensor, *, shift: int, width: int
) -> tuple[Tensor, Tensor]:
    """Accumulators and output activations of one layer, for a batch of inputs.

    Parameters
    ----------
    layer : FullyConnected
        Weights, bias and activation function.
    inputs : Tensor of a signed integer dtype, ``(batch, layer.inputs)``
        Input activations, each within ``width`` bits.
    shift : int
        Fraction bits that an accumulator has more than an output activation; see
        :attr:`golden.layers.Network.shifts`.
    width : int
        Bits of an activation, 8 or 16.

    Returns
    -------
    accumulators : Tensor of int64, ``(batch, layer.outputs)``
        Exact sums, bias included.
    outputs : Tensor of int64, ``(batch, layer.outputs)``
        Output activations, within ``width`` bits.

    Raises
    ------
    TypeError
        If ``inputs`` is not of a signed integer dtype.
    ValueError
        If ``inputs`` has another shape, or a value beyond ``width`` bits.

    Examples
    --------
    >>> codes = np.array([[1, 0, 2], [0, 0, 3]], dtype=np.uint8)
    >>> small = FullyConnected.from_matrix(
    ...     "small", codes, codebook=np.array([0, 5, -3, 7], dtype=np.int16), code_width=2,
    ...     weight_radix=2, bias=np.array([1, -100], dtype=np.int32), output_radix=0,
    ...     activation="relu")
    >>> layer(small, torch.tensor([[10, 20, 2], [1, 1, 1]]), shift=2, width=8)
    (tensor([[ 45, -86],
            [  3, -93]]), tensor([[11,  0],
            [ 1,  0]]))
    """
    check_within("inputs", inputs, width)
    if inputs.dim() != 2 or inputs.shape[1] != layer.inputs:
        raise ValueError(
            f"inputs must be of shape (batch, {layer.inputs}), not {tuple(inputs.shape)!r}"
        )
    accumulators = accumulate(layer, inputs[None])
    return accumulators, requantise(accumulators, shift, *limits(width, layer.activation))


def accumulate(layer: Weighted, inputs: Tensor) -> Tensor:
    """Bias plus weights times inputs.

    An image has at most 2**20 columns, so a sum of 16-bit products and a 32-bit bias stays below
    2**51: float64, whose matrix product is the fast one, holds every partial sum exactly, in
    whatever order they are added.

    Parameters
    ----------
    layer : Weighted
        Weights and bias.
    inputs : Tensor, ``(groups, n, layer.inputs)``
        What each group of rows is multiplied with, in the order of the rows.

    Returns
    -------
    Tensor of int64, ``(n, layer.outputs)``
    """
    groups, count, _ = inputs.shape
    bias = torch.as_tensor(layer.bias.astype(np.float64))
    sums = bias.reshape(groups, 1, -1).repeat(1, count, 1)
    step = max(1, _BLOCK // layer.outputs)
    for first in range(0, layer.inputs, step):
        last = min(first + step, layer.inputs)
        weights = torch.as_tensor(layer.dense(first, last).astype(np.float64))
        sums += inputs[:, :, first:last].double() @ weights.unflatten(0, (groups, -1)).mT
    return sums.movedim(0, 1).flatten(1).to(torch.int64)
