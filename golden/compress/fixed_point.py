"""From float to fixed point: radix points, and the layers of an image.

Radix points of activations are chosen from what a layer puts out for calibration inputs; those of
weights are bounded by the accumulator.
"""

from typing import Any

import numpy as np
from torch import Tensor

from golden.errors import FitError
from golden.fixed import limits, quantise
from golden.layers import MAX_SHIFT, FullyConnected, Weighted

__all__ = ["activation_radix", "to_layer"]

INT32 = np.iinfo(np.int32)


def activation_radix(values: Tensor, width: int, radixes: range) -> int:
    """The radix point that represents values best: with the least sum of squared errors.

    A radix that saturates some of the values is chosen only where the finer steps of all the
    others make up for it.

    Parameters
    ----------
    values : Tensor of float32, any shape
        What is to be represented.
    width : int
        Bits, 8 or 16.
    radixes : range
        Candidates, ascending by 1. Of equally good ones the first is taken.

    Returns
    -------
    int
        Fraction bits.

    Examples
    --------
    >>> import torch
    >>> activation_radix(torch.tensor([0.3, 1.5]), 8, range(8)), 1.5 * 2**6 <= 127
    (6, True)
    """
    exact = values.double()
    low, high = limits(width)

    def error(radix: int) -> float:
        rounded = quantise(values, radix, width).double() / 2.0**radix
        return float((rounded - exact).square().sum())

    def saturation(radix: int) -> float:
        """The part of the error that is there because of saturation, or less."""
        kept = exact.clamp(low / 2.0**radix, high / 2.0**radix)
        return float((kept - exact).square().sum())

    least_value, greatest_value = map(float, exact.aminmax())
    whole = [
        radix
        for radix in radixes
        if low <= least_value * 2.0**radix and greatest_value * 2.0**radix <= high
    ]
    start = best = whole[-1] if whole else radixes[0]
    least = error(start)
    # As long as nothing saturates, no value is farther from the multiples of half a step than from
    # those of a whole one: coarser steps are as good at most.
    for radix in reversed(range(radixes[0], start)):
        if error(radix) > least:
            break
        best = radix
    # The part of the error that is due to saturation only grows.
    for radix in range(start + 1, radixes[-1] + 1):
        if saturation(radix) >= least:
            break
        found = error(radix)
        if found < least:
            best, least = radix, found
    return best


def to_layer(
    name: str,
    codes: np.ndarray,
    codebook: np.ndarray,
    bias: np.ndarray,
    *,
    activation: str,
    input_radix: int,
    output_radix: int,
    activation_width: int,
    weight_width: int = 16,
    accumulator_width: int,
    kind: type[Weighted] = FullyConnected,
    **fields: Any,
) -> Weighted:
    """A layer in fixed point, its weights as fine as the accumulator allows.

    Parameters
    ----------
    name : str
        Name of the layer.
    codes : ndarray of uint8, ``(outputs, inputs)``
        Code of each weight, 0 for none.
    codebook : ndarray of float32, ``(2**bits,)``
        Value of each code.
    bias : ndarray of float32, ``(outputs,)``
        Biases.
    activation : str
        ``"none"`` or ``"relu"``.
    input_radix : int
        Fraction bits of the input activations.
    output_radix : int
        Fraction bits wanted of the output activations. The layer has fewer where an accumulator
        has fewer, as there is nothing to be had from bits that are always 0.
    activation_width : int
        Bits of the activations.
    weight_width : int
        Bits that a shared value may have, 8 to 16.
    accumulator_width : int
        Bits that the accumulator may have.
    kind : type of Weighted
        Kind of the layer.
    fields
        What layers of this kind have beside, such as a kernel.

    Returns
    -------
    golden.layers.Weighted
        With the greatest weight radix at which codebook and biases fit their types, no sum can
        overflow, and the shift is one that devices have.

    Raises
    ------
    FitError
        If the accumulator is so narrow that the shared values would become one another.
    """
    code_width = len(codebook).bit_length() - 1
    exact = codebook.astype(np.float64)
    for weight_radix in range(31, -1, -1):
        radix = input_radix + weight_radix
        values = np.rint(exact * 2.0**weight_radix)
        start = np.rint(bias.astype(np.float64) * 2.0**radix)
        if np.abs(values).max() > limits(weight_width)[1] or np.abs(start).max() > INT32.max:
            continue
        if radix - output_radix > MAX_SHIFT:
            continue
        # Rounding may take up to half of what would lie between values spaced evenly.
        if np.abs(values * 2.0**-weight_radix - exact).max() * 2**code_width > np.abs(exact).max():
            break
        layer = kind.from_matrix(
            name,
            codes,
            codebook=values.astype(np.int16),
            code_width=code_width,
            weight_radix=weight_radix,
            bias=start.astype(np.int32),
            output_radix=min(output_radix, radix),
            activation=activation,
            **fields,
        )
        if layer.accumulator_bits(activation_width) <= accumulator_width:
            return layer
    raise FitError(
        f"layer {name!r} fits no accumulator of {accumulator_width} bits: raise "
        "image.accumulator_width, or decay the weights more"
    )
