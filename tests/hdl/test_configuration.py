# amaranth: UnusedElaboratable=no
"""What a configuration refuses."""

import re
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.accelerator import Accelerator
from hdl.configuration import PRESETS, Configuration

NAMES = [field.name for field in fields(Configuration)]
# Written out once more, so that a bound does not move by mistake.
RANGES = {
    "elements": (1, 256),
    "scan_width": (1, 16),
    "ways": (1, 16),
    "activation_width": (8, 16),
    "weight_width": (8, 16),
    "accumulator_width": (24, 48),
    "code_width": (2, 8),
    "entry_width": (3, 16),
    "count_width": (2, 10),
    "queue_depth": (8, 256),
    "weight_depth": (8, 262144),
    "column_depth": (4, 131072),
    "row_depth": (2, 512),
    "codebook_depth": (4, 8192),
    "bias_depth": (4, 65536),
    "activation_depth": (4, 65536),
    "layer_depth": (2, 256),
    "counter_width": (16, 32),
    "map_depth": (0, 1 << 20),
    "map_reads": (0, 64),
    "stage_depth": (2, 256),
    "winograd_tile": (0, 4),
    "winograd_kernels": (1, 16),
    "winograd_channels": (2, 512),
    "winograd_windows": (16, 65536),
    "winograd_depth": (64, 65536),
}
# Goes with every value of any other parameter.
LOOSE = {"elements": 1, "scan_width": 1, "ways": 1, "code_width": 2}
# Those that a device can do without.
OPTIONAL = {"map_depth", "map_reads", "winograd_tile"}
# What an extreme value of a parameter needs of others.
BESIDE = {
    ("scan_width", 16): {"elements": 16, "column_depth": 16},
    ("ways", 16): {"elements": 16},
    ("code_width", 8): {"entry_width": 9},
    ("map_depth", 1 << 20): {"map_reads": 2},
    ("map_reads", 64): {"map_depth": 64},
    ("winograd_tile", 4): {"map_depth": 64, "activation_width": 8},
}


def refuses(error, message, **values):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Configuration(**values)


def test_every_parameter_has_a_range():
    assert list(RANGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 16.0, "16", None, True], ids=repr)
def test_wrong_type_or_sign(name, value):
    kind = "a positive integer or 0" if name in OPTIONAL else "a positive integer"
    if name in OPTIONAL and value == 0:
        assert getattr(Configuration(), name) == 0
    else:
        refuses(TypeError, f"{name} must be {kind}, not {value!r}", **{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_range(name):
    low, high = RANGES[name]
    for value in low, high:
        values = {**LOOSE, **BESIDE.get((name, value), {}), name: value}
        assert getattr(Configuration(**values), name) == value
    for value in low - 1, high + 1:
        if value > 0:
            refuses(ValueError, f"{name} must be {low} to {high}, not {value}", **{name: value})


@pytest.mark.parametrize(("elements", "ways"), [(12, 3), (6, 4), (1, 2)])
def test_ways_that_clash(elements, ways):
    refuses(
        ValueError,
        f"ways must be a power of two that divides elements ({elements}), not {ways}",
        elements=elements,
        ways=ways,
        scan_width=1,
    )


@pytest.mark.parametrize(("elements", "ways", "scan_width"), [(6, 1, 4), (8, 4, 4), (2, 1, 4)])
def test_scan_width_that_clashes(elements, ways, scan_width):
    refuses(
        ValueError,
        f"scan_width must divide the elements of a way ({elements // ways}), not {scan_width}",
        elements=elements,
        ways=ways,
        scan_width=scan_width,
    )


@pytest.mark.parametrize("entry_width", [5, 6])
def test_entry_without_a_relative_row(entry_width):
    refuses(
        ValueError,
        f"entry_width must be more than code_width (6), not {entry_width}",
        entry_width=entry_width,
    )


@pytest.mark.parametrize(
    ("name", "unit"),
    [("weight_depth", 2), ("column_depth", 8), ("bias_depth", 8), ("activation_depth", 8)],
)
def test_depths_that_are_no_multiples(name, unit):
    value = 64 + unit // 2
    message = f"{name} must be a multiple of {unit}, not {value}"
    refuses(ValueError, message, scan_width=8, **{name: value})
    assert Configuration(scan_width=8, **{name: 64 + unit})


@pytest.mark.parametrize(("reads", "depth"), [(2, 0), (1, 64)])
def test_reads_that_clash(reads, depth):
    message = f"map_reads must be 0, or at least 2 on a device with feature maps, not {reads}"
    refuses(ValueError, message, map_reads=reads, map_depth=depth)


def test_maps_that_do_not_fit_a_chip():
    refuses(ValueError, "map_depth must be 0 or at least 64, not 63", map_depth=63)
    message = "map_depth must be at most 65536 without map_reads, not 65537"
    refuses(ValueError, message, map_depth=65537)
    assert Configuration(map_depth=65536).stages


@pytest.mark.parametrize("tile", [1, 3])
def test_tiles_that_there_are_not(tile):
    message = f"winograd_tile must be 0, 2 or 4, not {tile}"
    refuses(ValueError, message, winograd_tile=tile, map_depth=64)


def test_winograd_unit_that_clashes():
    message = "winograd_tile must be 0 on a device without feature maps, not 2"
    refuses(ValueError, message, winograd_tile=2)
    message = "winograd_windows must be a power of two, not 2000"
    refuses(ValueError, message, winograd_tile=2, map_depth=64, winograd_windows=2000)
    message = "activation_width must be at most 11 with a winograd_tile of 4, not 12"
    refuses(ValueError, message, winograd_tile=4, map_depth=64, activation_width=12)


@pytest.mark.parametrize("width", range(8, 17))
def test_winograd_unit_of_any_device(width):
    for tile in (2, 4) if width <= 11 else (2,):
        c = Configuration(winograd_tile=tile, map_depth=64, activation_width=width, weight_width=16)
        assert (c.winograd.tile, c.winograd.activation_width) == (tile, width)
        assert max(*c.winograd.value_widths, *c.winograd.product_weight_widths) <= 18


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    preset = PRESETS[name]
    unit = f"-f{preset.winograd_tile}" if preset.winograd_tile else ""
    assert name == f"{'cnn' if preset.stages else 'pe'}{preset.elements}{unit}"
    assert preset.way_elements * preset.ways == preset.elements
    assert preset.groups * preset.scan_width == preset.elements
    # LeNet-300-100: its columns, and at 8 % some 21,300 of its weights.
    assert preset.column_depth >= 784 + 300 + 100
    assert preset.weight_depth * preset.elements >= 21_300


def test_is_fixed():
    with pytest.raises(FrozenInstanceError):
        PRESETS["pe1"].elements = 2


def test_accelerator_takes_nothing_else():
    with pytest.raises(TypeError, match=r"^configuration must be a Configuration, not 'pe1'$"):
        Accelerator("pe1")


@st.composite
def configurations(draw):
    """Values that go with each other, all of them within range."""
    values = {name: draw(st.integers(*RANGES[name])) for name in NAMES}
    values["ways"] = draw(st.sampled_from([1, 2, 4, 8, 16]))
    unit = values["ways"] * values["scan_width"]
    values["elements"] = unit * draw(st.integers(1, max(1, 256 // unit)))
    values["entry_width"] = draw(st.integers(values["code_width"] + 1, 16))
    values["weight_depth"] += values["weight_depth"] % 2
    for name in "column_depth", "bias_depth", "activation_depth":
        values[name] = draw(st.integers(4, 1 << 12)) * values["scan_width"]
    values["map_reads"] = draw(st.sampled_from([0, 2, 64]))
    least, most = (64, 1 << 20) if values["map_reads"] else (0, 1 << 16)
    values["map_depth"] = draw(st.integers(least, most).filter(lambda depth: not 0 < depth < 64))
    narrow = values["activation_width"] <= 11
    tiles = ([0, 2, 4] if narrow else [0, 2]) if values["map_depth"] else [0]
    values["winograd_tile"] = draw(st.sampled_from(tiles))
    values["winograd_windows"] = 1 << draw(st.integers(4, 16))
    return values


@given(configurations())
def test_what_goes_together_is_taken(values):
    made = Configuration(**values)
    assert vars(made) == values
    assert replace(made, layer_depth=made.layer_depth) == made
    assert made.way_elements % made.scan_width == 0
    # A step of the drain takes a group, whose elements belong to one way.
    assert made.groups % made.ways == 0
