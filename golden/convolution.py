"""Golden model of a convolution with shared, sparse weights, as one matrix product for each group.

Every accumulator is an exact integer: bias plus the sum of weight times activation over a window.
It becomes an output activation in one step, :func:`golden.fixed.requantise`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from golden import sparse
from golden.fixed import check_within, limits, requantise
from golden.layers import Convolution, Windowed

__all__ = ["layer", "windows"]

# Windows are spread out a block at a time: 2**22 float64 take 32 MiB.
_BLOCK = 2**22


def layer(layer: Convolution, inputs: Tensor, *, shift: int, width: int) -> tuple[Tensor, Tensor]:
    """Accumulators and output activations of one layer, for a batch of feature maps.

    Parameters
    ----------
    layer : Convolution
        Weights, bias, geometry and activation function.
    inputs : Tensor of a signed integer dtype, ``(batch, height, width, layer.channels)``
        Input activations, each within ``width`` bits.
    shift : int
        Fraction bits that an accumulator has more than an output activation; see
        :attr:`golden.layers.Network.shifts`.
    width : int
        Bits of an activation, 8 or 16.

    Returns
    -------
    accumulators : Tensor of int64, ``(batch, rows, columns, layer.outputs)``
        Exact sums, bias included.
    outputs : Tensor of int64, of the same shape
        Output activations, within ``width`` bits.

    Raises
    ------
    TypeError
        If ``inputs`` is not of a signed integer dtype.
    ValueError
        If ``inputs`` has another shape, or a value beyond ``width`` bits.
    ImageError
        If the kernel does not fit the feature maps.

    Examples
    --------
    >>> import numpy as np
    >>> edges = Convolution.from_matrix(
    ...     "edges", np.array([[1, 2]], dtype=np.uint8), kernel=(1, 2), padding=(0, 0, 0, 1),
    ...     codebook=np.array([0, -1, 1, 0], dtype=np.int16), code_width=2, weight_radix=0,
    ...     bias=np.array([100], dtype=np.int32), output_radix=0, activation="none")
    >>> sums, _ = layer(edges, torch.tensor([[[[5], [7], [4]]]]), shift=0, width=8)
    >>> sums.flatten()
    tensor([102,  97,  96])
    """
    check_within("inputs", inputs, width)
    if inputs.dim() != 4 or inputs.shape[3] != layer.channels:
        raise ValueError(
            f"inputs must be of shape (batch, height, width, {layer.channels}), "
            f"not {tuple(inputs.shape)!r}"
        )
    accumulators = _accumulate(layer, inputs)
    return accumulators, requantise(accumulators, shift, *limits(width, layer.activation))


def windows(layer: Windowed, inputs: Tensor, *, pad: int = 0, ceil: bool = False) -> Tensor:
    """The windows of a batch of feature maps, as a view.

    Parameters
    ----------
    layer : Windowed
        Kernel, stride and padding.
    inputs : Tensor, ``(batch, height, width, channels)``
        Feature maps.
    pad : int
        What padding consists of.
    ceil : bool
        As for :meth:`golden.layers.Windowed.positions`.

    Returns
    -------
    Tensor, ``(batch, rows, columns, kernel rows, kernel columns, channels)``
    """
    _, height, wide, channels = inputs.shape
    counts = layer.positions((height, wide, channels), ceil=ceil)
    edges = [0, 0]
    for axis in 1, 0:
        before = layer.padding[axis]
        reach = (counts[axis] - 1) * layer.stride[axis] + layer.kernel[axis]
        edges += [before, max(0, reach - before - (height, wide)[axis])]
    padded = functional.pad(inputs, edges, value=pad).contiguous()
    image, row, column, channel = padded.stride()
    return padded.as_strided(
        (len(inputs), *counts, *layer.kernel, channels),
        (image, row * layer.stride[0], column * layer.stride[1], row, column, channel),
    )


def _accumulate(layer: Convolution, inputs: Tensor) -> Tensor:
    """Bias plus weights times the activations of each window."""
    found = windows(layer, inputs.double())
    sums = torch.zeros((*found.shape[:3], layer.outputs), dtype=torch.int64)
    for part in _parts(found):
        # Groups first, then positions, then what the matrix has a column for.
        grouped = found[part].unflatten(5, (layer.groups, -1)).movedim(5, 0)
        taken = grouped.reshape(layer.groups, -1, layer.inputs)
        sums[part] = sparse.accumulate(layer, taken).reshape(sums[part].shape)
    return sums


def _parts(found: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Pieces of the first three indices, as large as leaves their windows to a block."""
    sizes = found.shape[:3]
    room = max(1, _BLOCK // found[:1, :1, :1].numel()) if found.numel() else 1
    steps = []
    for inner in (sizes[1] * sizes[2], sizes[2], 1):
        steps.append(max(1, room // inner))
    for image in range(0, sizes[0], steps[0]):
        for row in range(0, sizes[1], steps[1]):
            for column in range(0, sizes[2], steps[2]):
                yield (
                    slice(image, image + steps[0]),
                    slice(row, row + steps[1]),
                    slice(column, column + steps[2]),
                )
