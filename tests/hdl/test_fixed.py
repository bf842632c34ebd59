# amaranth: UnusedElaboratable=no
"""What the rounding unit refuses."""

import pytest

from hdl.fixed import Requantise

WIDTHS = {"width": 24, "bias_width": 16, "result_width": 8}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in WIDTHS
        for value in (0, -1, 8.0, "8", None, True)
        if (name, value) != ("bias_width", None)
    ],
)
def test_wrong_type_or_sign(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a positive integer, not {value!r}$"):
        Requantise(**{**WIDTHS, name: value})


def test_without_biases():
    assert not hasattr(Requantise(**{**WIDTHS, "bias_width": None}), "bias")


def test_bias_wider_than_the_sum():
    with pytest.raises(ValueError, match=r"^bias_width must be at most width \(24\), not 25$"):
        Requantise(**{**WIDTHS, "bias_width": 25})
    assert Requantise(**{**WIDTHS, "bias_width": 24}).bias.shape().width == 24


def test_result_as_wide_as_the_sum():
    with pytest.raises(ValueError, match=r"^result_width must be less than width \(24\), not 24$"):
        Requantise(**{**WIDTHS, "result_width": 24})
    assert Requantise(**{**WIDTHS, "result_width": 23}).o.shape().width == 23
