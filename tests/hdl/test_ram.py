# amaranth: UnusedElaboratable=no
"""What the RAM refuses, and how many blocks it is made of."""

import pytest

from hdl.ram import Ram
from hdl.verilog import convert


@pytest.mark.parametrize("depth", [1, 0, -2, 4.0, "4", None, True, (1 << 16) + 1], ids=repr)
def test_depth(depth):
    message = f"^depth must be an integer from 2 to 65536, not {depth!r}$"
    with pytest.raises(TypeError, match=message):
        Ram(8, depth=depth)


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [
        (18, 1024, 1),
        (19, 1024, 2),
        (18, 1025, 2),
        (9, 2048, 1),
        (8, 2049, 2),
        (1, 1 << 14, 1),
        (3, 40000, 9),
    ],
)
def test_blocks(width, depth, blocks):
    text = convert(Ram(width, depth=depth), name="top", family="ecp5")
    assert text.count("DP16KD #(") == blocks
    assert text.count('.REGMODE_B("OUTREG")') == blocks
    assert ("always" in text) == (depth > 1 << 14)
