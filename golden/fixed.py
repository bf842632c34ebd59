"""Fixed point: the one definition of rounding and saturation.

An integer ``q`` at radix ``r`` stands for the real number ``q / 2**r``. Every rounding is to the
nearest integer, and to the even one of two that are equally near.
"""

import torch
from torch import Tensor

__all__ = ["check_within", "limits", "quantise", "requantise"]

# A shift by 63 would leave no room in int64 for the half that decides the rounding.
_MAX_SHIFT = 62
_MAX_WIDTH = 32
_ACTIVATIONS = ("none", "relu")


def limits(width: int, activation: str = "none") -> tuple[int, int]:
    """Lowest and highest value of an activation.

    Parameters
    ----------
    width : int
        Bits of the two's complement number, 1 to 32.
    activation : str
        ``"none"``, or ``"relu"``, which has no negative values.

    Returns
    -------
    tuple of int
        Lowest and highest value, both included.

    Examples
    --------
    >>> limits(8)
    (-128, 127)
    >>> limits(16, "relu")
    (0, 32767)
    """
    _check_integer("width", width, 1, _MAX_WIDTH)
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {_ACTIVATIONS}, not {activation!r}")
    high = 2 ** (width - 1) - 1
    return (0 if activation == "relu" else -high - 1), high


def check_within(name: str, tensor: Tensor, width: int) -> None:
    """Refuse what is not of integers of ``width`` bits.

    Raises
    ------
    TypeError
        If ``tensor`` is not of a signed integer dtype.
    ValueError
        If it has a value beyond ``width`` bits. The messages start with ``name``.
    """
    if tensor.is_floating_point() or tensor.is_complex() or not tensor.dtype.is_signed:
        raise TypeError(f"{name} must be of a signed integer dtype, not {tensor.dtype}")
    low, high = limits(width)
    if tensor.numel() and (tensor.min() < low or tensor.max() > high):
        raise ValueError(
            f"{name} must lie within {low} to {high}, "
            f"not {int(tensor.min())} to {int(tensor.max())}"
        )


def requantise(acc: Tensor, shift: int, low: int, high: int) -> Tensor:
    """``acc / 2**shift``, rounded half to even, then brought within ``low`` to ``high``.

    Parameters
    ----------
    acc : Tensor of int64, any shape
        Accumulators.
    shift : int
        Bits to drop, 0 to 62.
    low, high : int
        Lowest and highest result; see :func:`limits`. A ``low`` of 0 is the rectifier.

    Returns
    -------
    Tensor of int64, the shape of ``acc``

    Raises
    ------
    TypeError
        If ``acc`` is not of dtype int64, or ``shift`` no integer in its range.
    ValueError
        If ``low`` is above ``high``.

    Examples
    --------
    >>> requantise(torch.tensor([5, 6, 7, -6, -10, 1000]), 2, -128, 127)
    tensor([  1,   2,   2,  -2,  -2, 127])
    """
    if acc.dtype != torch.int64:
        raise TypeError(f"acc must be of dtype torch.int64, not {acc.dtype}")
    _check_integer("shift", shift, 0, _MAX_SHIFT)
    if low > high:
        raise ValueError(f"low must be at most high, {high!r}, not {low!r}")
    if shift > 0:
        half = 1 << (shift - 1)
        rest = acc & (2 * half - 1)
        floor = acc >> shift
        acc = floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    return acc.clamp(low, high)


def quantise(real: Tensor, radix: int, width: int) -> Tensor:
    """``real * 2**radix``, rounded half to even and saturated to ``width`` bits.

    Parameters
    ----------
    real : Tensor of a floating-point dtype, any shape
        Real numbers. An infinity saturates.
    radix : int
        Fraction bits, -64 to 64.
    width : int
        Bits of the result, in two's complement, 1 to 32.

    Returns
    -------
    Tensor of int64, the shape of ``real``

    Raises
    ------
    TypeError
        If ``real`` is not of a floating-point dtype, or a parameter no integer in its range.
    ValueError
        If a number is NaN.

    Examples
    --------
    >>> quantise(torch.tensor([0.125, 0.375, -0.3, 100.0]), 2, 8)
    tensor([  0,   2,  -1, 127])
    """
    if not real.is_floating_point():
        raise TypeError(f"real must be of a floating-point dtype, not {real.dtype}")
    _check_integer("radix", radix, -64, 64)
    low, high = limits(width)
    if real.isnan().any():
        raise ValueError("real must not contain NaN")
    # The scale is a power of two, so in float64 only the rounding itself rounds.
    return (real.double() * 2.0**radix).round().clamp(low, high).to(torch.int64)


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise TypeError(f"{name} must be an integer from {low} to {high}, not {value!r}")
