"""Golden model of layers that make one tensor of several: addition and concatenation.

What they make becomes output activations in one step, the same as for all other layers:
:func:`golden.fixed.requantise`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from golden.fixed import check_within, limits, requantise
from golden.layers import Addition, Concatenation

__all__ = ["layer"]


def layer(
    layer: Addition | Concatenation,
    inputs: Sequence[Tensor],
    *,
    radixes: Sequence[int],
    shift: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Accumulators and output activations of one layer, for a batch.

    Parameters
    ----------
    layer : Addition or Concatenation
        What to do, and the activation function.
    inputs : sequence of Tensor of a signed integer dtype, ``(batch, ...)``
        Input activations, each within ``width`` bits.
    radixes : sequence of int
        Fraction bits of each of ``inputs``.
    shift : int
        Fraction bits that an accumulator has more than an output activation; see
        :attr:`golden.layers.Network.shifts`.
    width : int
        Bits of an activation, 8 or 16.

    Returns
    -------
    accumulators : Tensor of int64
        The activations of all inputs, or the sums at the highest of their radix points. Radix
        points are at most 31 apart, so that a sum fits 48 bits.
    outputs : Tensor of int64, of the same shape
        Output activations, within ``width`` bits.

    Raises
    ------
    TypeError
        If one of ``inputs`` is not of a signed integer dtype.
    ValueError
        If one of them has a value beyond ``width`` bits.
    ImageError
        If their shapes or radix points do not fit together.

    Examples
    --------
    >>> both = Addition(name="both", output_radix=1, activation="none")
    >>> layer(both, torch.tensor([[[1, 2]], [[1, 1]]]), radixes=(1, 2), shift=1, width=8)
    (tensor([[3, 5]]), tensor([[2, 2]]))
    """
    for tensor in inputs:
        check_within("inputs", tensor, width)
    layer.output_shape(*(tuple(tensor.shape[1:]) for tensor in inputs))
    wide = [tensor.to(torch.int64) for tensor in inputs]
    if isinstance(layer, Addition):
        first, second = (
            tensor << bits for tensor, bits in zip(wide, layer.alignment(*radixes), strict=True)
        )
        accumulators = first + second
    else:
        layer.accumulator_radix(*radixes)
        accumulators = torch.cat(wide, dim=-1)
    return accumulators, requantise(accumulators, shift, *limits(width, layer.activation))
