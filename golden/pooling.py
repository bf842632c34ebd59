"""Golden model of pooling: the greatest of a window, or its mean, for each channel by itself.

A mean is an exact sum times an integer that stands for one over the area of the window; see
:class:`golden.layers.AveragePooling`. It becomes an output activation in one step, the same as for
all other layers: :func:`golden.fixed.requantise`.
"""

import numpy as np
import torch
from torch import Tensor

from golden.convolution import windows
from golden.fixed import check_within, limits, requantise
from golden.layers import AveragePooling, Pooling

__all__ = ["layer"]


def layer(layer: Pooling, inputs: Tensor, *, shift: int, width: int) -> tuple[Tensor, Tensor]:
    """Accumulators and output activations of one layer, for a batch of feature maps.

    Parameters
    ----------
    layer : Pooling
        Geometry and activation function.
    inputs : Tensor of a signed integer dtype, ``(batch, height, width, channels)``
        Input activations, each within ``width`` bits.
    shift : int
        Fraction bits that an accumulator has more than an output activation; see
        :attr:`golden.layers.Network.shifts`.
    width : int
        Bits of an activation, 8 or 16.

    Returns
    -------
    accumulators : Tensor of int64, ``(batch, rows, columns, channels)``
        The greatest activations, or the sums times the reciprocals. The latter are below
        ``2**48``: each is at most ``(2**31 + 2**19) * 2**15``.
    outputs : Tensor of int64, of the same shape
        Output activations, within ``width`` bits.

    Raises
    ------
    TypeError
        If ``inputs`` is not of a signed integer dtype.
    ValueError
        If ``inputs`` is no batch of feature maps, or has a value beyond ``width`` bits.
    ImageError
        If the kernel does not fit the feature maps.

    Examples
    --------
    >>> pool = AveragePooling(
    ...     name="pool", output_radix=0, activation="none", kernel=(1, 3), stride=(1, 3),
    ...     weight_radix=8)
    >>> row = torch.tensor([[[[1], [2], [3], [9], [9], [10]]]])
    >>> layer(pool, row, shift=8, width=8)[1].flatten()
    tensor([2, 9])
    """
    check_within("inputs", inputs, width)
    if inputs.dim() != 4:
        raise ValueError(
            f"inputs must be of shape (batch, height, width, channels), not {tuple(inputs.shape)!r}"
        )
    accumulators = _accumulate(layer, inputs.to(torch.int64), width)
    return accumulators, requantise(accumulators, shift, *limits(width, layer.activation))


def _accumulate(layer: Pooling, inputs: Tensor, width: int) -> Tensor:
    if not isinstance(layer, AveragePooling):
        # Every window has an activation that is no padding, and none is lower than this.
        lowest, _ = limits(width)
        return windows(layer, inputs, pad=lowest, ceil=layer.ceil_mode).amax(dim=(3, 4))
    sums = windows(layer, inputs, ceil=layer.ceil_mode).sum(dim=(3, 4))
    rows, columns = layer.areas(tuple(inputs.shape[1:]))
    reciprocals = layer.reciprocal(np.outer(rows, columns))
    return sums * torch.from_numpy(reciprocals)[:, :, None]
