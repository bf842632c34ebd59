"""A convolution on the Winograd unit: what it is told, how its beats lie, and what does not fit."""

import dataclasses
import re

import numpy as np
import pytest

from golden.errors import FitError
from golden.nets.random import random_pairs
from hdl.winograd.parameters import Descriptor, Parameters
from mapping.winograd import Convolution, beats, blocks, describe, image, predict

UNIT = Parameters(tile=4, kernels=4, drains=2, window_depth=4096)


def convolution(**changes):
    fields = {
        "height": 14,
        "width": 14,
        "channels": 16,
        "kernels": 30,
        "padding": "same",
        "shift": 5,
        "low": -128,
        "high": 127,
    }
    return Convolution(**{**fields, **changes})


def test_descriptor():
    fields = describe(convolution(), UNIT)
    assert fields == {
        "height": 14,
        "width": 14,
        "channels": 16,
        "kernels": 30,
        "pads": 1,
        "shift": 5,
        "low": -128,
        "high": 127,
        "rows": 4,
        "columns": 4,
        "skips": 0,
        "blocks": 256,
        "pitch": 64,
        "ahead": 64 + (15 + 2) * 16,
        "groups": 8,
        "band": 16,
        "bands": 1,
        "stride": 16,
    }
    # As the hardware has it, nothing is cut off.
    assert Descriptor(UNIT).const(fields).as_bits() < 1 << Descriptor(UNIT).size


@pytest.mark.parametrize("sides", [(3, 3), (6, 7), (7, 10), (14, 9)])
def test_rows_of_blocks_and_of_tiles(sides):
    """Without padding there can be a block more than tiles."""
    fields = describe(convolution(height=sides[0], width=sides[1], padding="valid"), UNIT)
    wide = -(-sides[1] // 4)
    assert fields["rows"] == -(-(sides[0] - 2) // 4)
    assert fields["columns"] == -(-(sides[1] - 2) // 4)
    assert fields["skips"] == wide - fields["columns"]
    assert fields["blocks"] == -(-sides[0] // 4) * wide * 16
    assert fields["pads"] == 0


def bands_of(layer, parameters):
    fields = describe(layer, parameters)
    tiles = fields["rows"] * fields["columns"]
    return [min(fields["band"], tiles - n) for n in range(0, tiles, fields["band"])]


def test_bands_share_weights_but_do_not_wait_for_them():
    unit = dataclasses.replace(UNIT, channel_depth=256, window_depth=1 << 14, output_depth=4096)
    layer = convolution(height=56, width=56, channels=128, kernels=64)
    # Twelve bands of 16 and one of 4 would take longer: 14 times 14 does not.
    assert bands_of(layer, unit) == [14] * 14
    assert predict(layer, unit).cycles - predict(layer, unit).steps <= 64


def test_bands_that_memory_allows():
    assert bands_of(convolution(), dataclasses.replace(UNIT, output_depth=256)) == [8, 8]
    assert bands_of(convolution(), dataclasses.replace(UNIT, band_depth=8)) == [8, 8]
    assert bands_of(convolution(), dataclasses.replace(UNIT, window_depth=512)) == [9, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 256}, "height must be at most 255 on this unit, not 256"),
        ({"width": 256}, "width must be at most 255 on this unit, not 256"),
        ({"channels": 65}, "channels must be at most 64 on this unit, not 65"),
        ({"kernels": 65}, "kernels must be at most 64 on this unit, not 65"),
        ({"shift": 24}, "shift must be at most 23 on this unit, not 24"),
        ({"high": 128}, "high must be at most 127 on this unit, not 128"),
        ({"low": -129}, "low must be at least -128 on this unit, not -129"),
        (
            {"width": 255, "channels": 64},
            "window_depth must be at least 16384 for 255 columns and 64 channels, not 4096",
        ),
    ],
)
def test_what_does_not_fit(changes, message):
    with pytest.raises(FitError, match=f"^{re.escape(message)}$"):
        describe(convolution(**changes), UNIT)


def test_enough_is_enough():
    """With what the message asks for, it fits; with half of it, it does not."""
    layer = convolution(width=255, channels=64)
    describe(layer, dataclasses.replace(UNIT, window_depth=16384))
    with pytest.raises(FitError):
        describe(layer, dataclasses.replace(UNIT, window_depth=8192))
    message = "^output_depth must be at least 32 for 30 kernels, not 16$"
    with pytest.raises(FitError, match=message):
        describe(convolution(), dataclasses.replace(UNIT, output_depth=16))
    assert describe(convolution(), dataclasses.replace(UNIT, output_depth=32))["band"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": "full"}, "padding must be 'same' or 'valid', not 'full'"),
        ({"height": 0}, "height must be at least 1, not 0"),
        ({"width": 2, "padding": "valid"}, "width must be at least 3, not 2"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"kernels": 0}, "kernels must be at least 1, not 0"),
        ({"low": 1, "high": 0}, "low must be at most high, 0, not 1"),
    ],
)
def test_wrong_value(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        convolution(**changes)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 8), (2, 5, 3), (7, 9, 10)])
def test_blocks(tile, shape):
    """One by one, and back."""
    pixels = np.random.default_rng(0).integers(-128, 128, shape)
    laid = blocks(pixels, tile)
    channels, height, width = shape
    wide = -(-width // tile)
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                n = ((y // tile) * wide + x // tile) * channels + channel
                assert laid[n, y % tile, x % tile] == pixels[channel, y, x]
    assert np.array_equal(image(laid, height, width), pixels)
    assert np.count_nonzero(laid) == np.count_nonzero(pixels)


def test_weights():
    weights = np.arange(6 * 3 * 9).reshape(6, 3, 3, 3) - 64
    laid = beats(weights, UNIT, bands=2)
    assert laid.shape == (2 * 6 * 3, 9)
    order = [
        (kernel, channel)
        for first in (0, 4)
        for channel in range(3)
        for kernel in range(first, min(first + 4, 6))
    ]
    for n, (kernel, channel) in enumerate(order * 2):
        assert np.array_equal(laid[n], weights[kernel, channel].ravel() & 255)


PAIRS = Parameters(tile=4, kernels=2, weight_width=8, sum_width=40, pairs=True)


def test_descriptor_of_pairs():
    for paired in (False, True):
        fields = describe(convolution(paired=paired), PAIRS)
        assert fields["paired"] == paired
        assert fields["channels"] == 16
    assert "paired" not in describe(convolution(), UNIT)


@pytest.mark.parametrize("tile", [2, 4])
def test_weights_of_pairs(tile):
    """A beat after the other: nine numbers each, and above each which channel it is for."""
    p = dataclasses.replace(PAIRS, tile=tile)
    size, kernels, channels = tile + 2, 3, 4
    weights = random_pairs(np.random.default_rng(0), -128, 127, (kernels, channels, size, size))
    parts = p.parts_of_weights
    assert parts == {2: 2, 4: 4}[tile]
    laid = beats(weights, p, bands=2)
    assert laid.shape == (2 * kernels * channels // 2 * parts, 9)
    order = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)] * 2
    for n, (kernel, pair) in enumerate(order):
        found = laid[n * parts : (n + 1) * parts].ravel()
        both = weights[kernel, 2 * pair : 2 * pair + 2].reshape(2, -1)
        for k in range(size**2):
            select = found[k] >> 8
            assert found[k] & 255 == both[select, k] & 255
            assert both[1 - select, k] == 0
        assert not found[size**2 :].any()


def test_weights_of_pairs_wrong():
    weights = np.zeros((1, 2, 6, 6), int)
    weights[0, :, 3, 4] = 1
    message = (
        "^weights must have a zero in one of each pair of channels, not in none as at row 3 and "
        "column 4 of channels 0 and 1, kernel 0$"
    )
    with pytest.raises(ValueError, match=message):
        beats(weights, PAIRS, bands=1)
    with pytest.raises(ValueError, match="^channels must be even, not 3$"):
        beats(np.zeros((1, 3, 6, 6), int), PAIRS, bands=1)


@pytest.mark.parametrize("unit", [UNIT, PAIRS], ids=["plain", "pairs"])
def test_weights_wrong(unit):
    length = unit.size + unit.pairs
    message = rf"^weights must be of shape .* for this unit, not \(1, 2, {length}, {length}\)$"
    with pytest.raises(ValueError, match=message):
        beats(np.zeros((1, 2, length, length), int), unit, bands=1)
    codes = unit.code_width is not None
    width = unit.code_width or unit.weight_width
    low = 0 if codes else -(1 << width - 1)
    high = low + (1 << width) - 1
    for value in low - 1, high + 1:
        weights = np.zeros((1, 2, 3, 3), int)
        weights[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match=f"^weights must be {low} to {high}, not "):
            beats(weights, unit, bands=1)


def test_paired_wrong():
    with pytest.raises(TypeError, match="^paired must be True or False, not 'no'$"):
        convolution(paired="no")
    with pytest.raises(ValueError, match="^channels must be even in a paired layer, not 15$"):
        convolution(channels=15, paired=True)


def test_pairs_that_do_not_fit():
    with pytest.raises(FitError, match="^paired must be False on this unit, not True$"):
        describe(convolution(paired=True), UNIT)
    with pytest.raises(FitError, match="^channels must be even on this unit, not 15$"):
        describe(convolution(channels=15), PAIRS)


@pytest.mark.parametrize(("tile", "kernels", "drains"), [(2, 8, 3), (4, 4, 2)])
def test_cycles_of_pairs(tile, kernels, drains):
    """Half of the steps; and nothing is lost, with as many tiles as kernels times beats."""
    unit = Parameters(tile=tile, kernels=kernels, drains=drains, window_depth=1 << 13, pairs=True)
    plain = convolution(height=4 * tile, width=4 * tile, channels=64, kernels=2 * kernels)
    whole, half = (
        predict(layer, unit) for layer in (plain, dataclasses.replace(plain, paired=True))
    )
    assert whole.steps == 2 * half.steps == 16 * 64 * 2
    assert whole.cycles - whole.steps == half.cycles - half.steps
    assert half.cycles - half.steps in range(1, 65)
    # What layers can be, others take a cycle more for, on their way through the drain.
    assert predict(plain, dataclasses.replace(unit, pairs=False)).cycles == whole.cycles - 1


def test_products():
    assert convolution().products == 14 * 14 * 16 * 30 * 9
    assert convolution(padding="valid").products == 12 * 12 * 16 * 30 * 9


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("channels", [1, 16, 64])
@pytest.mark.parametrize("kernels", [4, 32])
def test_cycles_of_a_layer_that_does_not_wait(tile, channels, kernels):
    """Tiles times channels times groups of kernels, and the way through the unit."""
    unit = Parameters(tile=tile, kernels=4, drains=2, window_depth=1 << 13, output_depth=4096)
    layer = convolution(height=32, width=32, channels=channels, kernels=kernels)
    predicted = predict(layer, unit)
    assert predicted.steps == (32 // tile) ** 2 * (kernels // 4) * max(channels, unit.least)
    assert predicted.cycles - predicted.steps in range(1, 65)


@pytest.mark.parametrize(("tile", "kernels", "drains"), [(2, 8, 3), (4, 4, 2)])
@pytest.mark.parametrize("channels", [1, 11, 12, 13, 64])
def test_cycles_with_as_many_tiles_as_kernels(tile, kernels, drains, channels):
    """Then weights come in just as fast as they are used, and none of them keeps a tile waiting."""
    unit = Parameters(tile=tile, kernels=kernels, drains=drains, window_depth=1 << 12)
    for number in (2 * kernels, 8 * kernels - 1):
        layer = convolution(
            height=2 * tile, width=kernels // 2 * tile, channels=channels, kernels=number
        )
        predicted = predict(layer, unit)
        assert describe(layer, unit)["bands"] == 1
        assert predicted.cycles - predicted.steps in range(1, 65)


@pytest.mark.parametrize(("tile", "kernels", "drains"), [(2, 8, 3), (4, 4, 2)])
def test_cycles_with_fewer_tiles_than_kernels(tile, kernels, drains):
    """Those of the weights of all groups but the first, and of the last group."""
    unit = Parameters(tile=tile, kernels=kernels, drains=drains, window_depth=1 << 12)
    layer = convolution(height=2 * tile, width=tile, channels=64, kernels=64)
    waits = 64 * (64 - kernels) + 2 * 64
    assert predict(layer, unit).cycles - waits in range(1, 65)
