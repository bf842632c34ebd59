# amaranth: UnusedElaboratable=no
"""What the multiplier refuses, and which blocks it is made of."""

import re

import pytest
from amaranth.back import rtlil

from hdl.multiplier import Multiplier
from hdl.verilog import convert

WIDTHS = {"a_width": 10, "b_width": 12}


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("value", [0, -1, 8.0, "8", None, True], ids=repr)
def test_wrong_type_or_sign(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a positive integer, not {value!r}$"):
        Multiplier(**{**WIDTHS, name: value})


@pytest.mark.parametrize("name", WIDTHS)
def test_too_wide(name):
    with pytest.raises(ValueError, match=f"^{name} must be at most 18, not 19$"):
        Multiplier(**{**WIDTHS, name: 19})
    assert len(Multiplier(**{**WIDTHS, name: 18}).o) == 18 + sum(WIDTHS.values()) - WIDTHS[name]


@pytest.mark.parametrize("latency", [1, 4, None])
def test_latency(latency):
    with pytest.raises(ValueError, match=f"^latency must be 2 or 3, not {latency}$"):
        Multiplier(**WIDTHS, latency=latency)


class _HX8K:
    """Stands in for a platform of a device that has no multipliers."""

    family, device = "iCE40", "iCE40HX8K"


def test_no_block_where_there_is_none():
    text = rtlil.convert(Multiplier(**WIDTHS), platform=_HX8K())
    assert "SB_MAC16" not in text


@pytest.mark.parametrize("latency", [2, 3])
@pytest.mark.parametrize(
    ("family", "width", "block"),
    [
        (None, 18, None),
        ("ecp5", 18, "MULT18X18D"),
        ("iCE40", 16, "SB_MAC16"),
        ("iCE40", 17, None),
        ("machxo2", 16, None),
    ],
)
def test_blocks(family, width, block, latency):
    """The block has its registers, so that none is left outside."""
    text = convert(
        Multiplier(a_width=width, b_width=10, latency=latency), name="top", family=family
    )
    assert re.findall(r"MULT18X18D|SB_MAC16", text) == ([block] if block else [])
    assert ("always @(posedge clk)" in text) == (block is None)
