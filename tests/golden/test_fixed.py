import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from golden.fixed import limits, quantise, requantise

int64s = st.integers(-(2**62), 2**62 - 1)


def nearest(exact, low, high):
    """Rounded half to even by Python, which does so for fractions, and brought into bounds."""
    return min(max(round(exact), low), high)


@pytest.mark.parametrize(
    ("width", "activation", "expected"),
    [
        (8, "none", (-128, 127)),
        (8, "relu", (0, 127)),
        (16, "none", (-32768, 32767)),
        (16, "relu", (0, 32767)),
        (32, "none", (-(2**31), 2**31 - 1)),
        (1, "none", (-1, 0)),
    ],
)
def test_limits(width, activation, expected):
    assert limits(width, activation) == expected


@given(st.lists(int64s, min_size=1), st.integers(0, 62), st.sampled_from([8, 16]), st.booleans())
@example([2**62 - 1, -(2**62)], 62, 8, False)
@example([2**62 - 1, -(2**62)], 0, 16, True)
def test_requantise_matches_fractions(numbers, shift, width, rectified):
    low, high = limits(width, "relu" if rectified else "none")
    result = requantise(torch.tensor(numbers), shift, low, high)
    assert result.dtype == torch.int64
    assert result.tolist() == [nearest(Fraction(x, 2**shift), low, high) for x in numbers]


@given(st.integers(-(2**16), 2**16), st.integers(-2, 2), st.integers(1, 40))
def test_requantise_about_a_tie(floor, beside, shift):
    number = (2 * floor + 1) * 2 ** (shift - 1) + beside
    expected = round(Fraction(number, 2**shift))
    assert requantise(torch.tensor(number), shift, -(2**40), 2**40).item() == expected


@pytest.mark.parametrize(
    ("number", "shift", "expected"),
    [
        # Ties go to the even neighbour, above and below zero.
        (2, 2, 0),
        (6, 2, 2),
        (10, 2, 2),
        (14, 2, 4),
        (-2, 2, 0),
        (-6, 2, -2),
        (-10, 2, -2),
        (-14, 2, -4),
        # Just beside a tie, the nearest one.
        (1, 2, 0),
        (3, 2, 1),
        (-1, 2, 0),
        (-3, 2, -1),
        (1, 1, 0),
        (3, 1, 2),
        (-1, 1, 0),
        # Saturated, at and beyond either end. 127.5 would round up to 128.
        (127 * 4 + 1, 2, 127),
        (127 * 4 + 2, 2, 127),
        (-128 * 4 - 2, 2, -128),
        (-128 * 4 - 3, 2, -128),
        (2**62, 2, 127),
        (-(2**63), 2, -128),
        # Without a shift there is nothing to round.
        (127, 0, 127),
        (128, 0, 127),
        (-128, 0, -128),
        (-129, 0, -128),
        # A shift beyond all the number's bits.
        (2**46, 47, 0),
        (2**46 + 1, 47, 1),
        (-(2**46), 47, 0),
        (-(2**46) - 1, 47, -1),
        (2**63 - 1, 62, 2),
        (-(2**63), 62, -2),
    ],
)
def test_requantise_corner(number, shift, expected):
    assert requantise(torch.tensor(number), shift, -128, 127).item() == expected


def test_requantise_keeps_shape():
    assert requantise(torch.zeros(3, 0, 2, dtype=torch.int64), 3, 0, 1).shape == (3, 0, 2)


@given(
    st.lists(st.floats(allow_nan=False), min_size=1),
    st.integers(-20, 40),
    st.sampled_from([8, 16, 32]),
)
def test_quantise_matches_fractions(numbers, radix, width):
    low, high = limits(width)
    result = quantise(torch.tensor(numbers, dtype=torch.float64), radix, width)
    assert result.dtype == torch.int64
    for number, quantised in zip(numbers, result.tolist(), strict=True):
        if math.isinf(number):
            assert quantised == (high if number > 0 else low)
        else:
            assert quantised == nearest(Fraction(number) * Fraction(2) ** radix, low, high)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (127.5, 127), (-129, -128)],
)
def test_quantise_corner(number, expected):
    assert quantise(torch.tensor([number / 8]), 3, 8).item() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_quantise_widens_first(dtype):
    # Neither the scaled number nor the highest result exists in the narrow type.
    assert quantise(torch.tensor([2048.0, -2048.0], dtype=dtype), 20, 32).tolist() == [
        2**31 - 1,
        -(2**31),
    ]
    assert quantise(torch.tensor([1.0], dtype=dtype), 20, 32).item() == 2**20


@pytest.mark.parametrize("width", [0, 33, -8, 8.0, True])
def test_limits_width_wrong(width):
    with pytest.raises(TypeError, match=r"^width must be an integer from 1 to 32, not "):
        limits(width)


def test_limits_activation_wrong():
    with pytest.raises(ValueError, match=r"^activation must be one of \('none', 'relu'\), not 't"):
        limits(8, "tanh")


def test_requantise_dtype_wrong():
    with pytest.raises(TypeError, match=r"^acc must be of dtype torch\.int64, not torch\.int32$"):
        requantise(torch.zeros(1, dtype=torch.int32), 1, 0, 1)


@pytest.mark.parametrize("shift", [-1, 63, 1.0])
def test_requantise_shift_wrong(shift):
    with pytest.raises(TypeError, match=r"^shift must be an integer from 0 to 62, not "):
        requantise(torch.zeros(1, dtype=torch.int64), shift, 0, 1)


def test_requantise_limits_wrong():
    with pytest.raises(ValueError, match=r"^low must be at most high, 1, not 2$"):
        requantise(torch.zeros(1, dtype=torch.int64), 1, 2, 1)


def test_quantise_dtype_wrong():
    with pytest.raises(TypeError, match=r"^real must be of a floating-point dtype, not torch"):
        quantise(torch.zeros(1, dtype=torch.int64), 1, 8)


def test_quantise_radix_wrong():
    with pytest.raises(TypeError, match=r"^radix must be an integer from -64 to 64, not 65$"):
        quantise(torch.zeros(1), 65, 8)


def test_quantise_nan():
    with pytest.raises(ValueError, match=r"^real must not contain NaN$"):
        quantise(torch.tensor([0.0, math.nan]), 1, 8)
