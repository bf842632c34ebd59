import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from golden import pooling
from golden.layers import AveragePooling, MaxPooling
from tests.golden.strategies import poolings


def plain_windows(layer, height, wide):
    """For each window, the places that are of the map, and how many there are with padding."""
    found = []
    for axis, length in enumerate((height, wide)):
        before, after = layer.padding[axis], layer.padding[axis + 2]
        kernel, stride = layer.kernel[axis], layer.stride[axis]
        starts = []
        start = -before
        # A window has to end within the padding, or, rounding up, to start before its end.
        while start + kernel <= length + after or (
            layer.ceil_mode and start < length and start - stride + kernel < length + after
        ):
            starts.append(start)
            start += stride
        found.append(
            [
                (
                    [x for x in range(start, start + kernel) if 0 <= x < length],
                    sum(-before <= x < length + after for x in range(start, start + kernel)),
                )
                for start in starts
            ]
        )
    return found


def plain_layer(layer, image, shift, width):
    """Accumulators and outputs for one feature map, in plain Python."""
    channels = len(image[0][0])
    high = 2 ** (width - 1) - 1
    low = 0 if layer.activation == "relu" else -high - 1
    rows, columns = plain_windows(layer, len(image), len(image[0]))
    sums = []
    for down, tall in rows:
        sums.append([])
        for right, broad in columns:
            values = [[image[y][x][c] for y in down for x in right] for c in range(channels)]
            if isinstance(layer, MaxPooling):
                sums[-1].append([max(own) for own in values])
            else:
                area = tall * broad if layer.count_padding else len(down) * len(right)
                factor = round(Fraction(2**layer.weight_radix, area))
                sums[-1].append([sum(own) * factor for own in values])
    rounded = [
        [[min(max(round(Fraction(n, 2**shift)), low), high) for n in pixel] for pixel in row]
        for row in sums
    ]
    return sums, rounded


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=150)
def test_matches_plain_python(data, height, wide, channels):
    shape = (height, wide, channels)
    layer = data.draw(poolings(shape=shape))
    width = data.draw(st.sampled_from([8, 16]))
    high = 2 ** (width - 1)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = rng.choice([-high, -high + 1, -1, 0, 1, 3, high - 1], (2, *shape))
    shift = data.draw(st.integers(0, 47))
    sums, outputs = pooling.layer(layer, torch.from_numpy(inputs), shift=shift, width=width)
    assert sums.dtype == outputs.dtype == torch.int64
    for image, *found in zip(inputs.tolist(), sums.tolist(), outputs.tolist(), strict=True):
        assert found == list(plain_layer(layer, image, shift, width))
    assert tuple(sums.shape[1:]) == layer.output_shape(shape)
    bits = layer.accumulator_bits(width)
    assert -(2 ** (bits - 1)) <= int(sums.min()) <= int(sums.max()) < 2 ** (bits - 1)


@st.composite
def for_torch(draw):
    """Geometry that PyTorch has too: padding equal on both sides, at most half of the kernel."""
    kernel = [draw(st.integers(1, 5)) for _ in range(2)]
    padding = [draw(st.integers(0, side // 2)) for side in kernel]
    return {
        "kernel": tuple(kernel),
        "stride": tuple(draw(st.integers(1, 5)) for _ in range(2)),
        "padding": (*padding, *padding),
        "ceil_mode": draw(st.booleans()),
        "name": "pool",
        "output_radix": 0,
        "activation": "none",
    }


def arguments(layer):
    return {
        "kernel_size": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding[:2],
        "ceil_mode": layer.ceil_mode,
    }


def torch_input(data, layer):
    shape = tuple(data.draw(st.integers(1, 11)) for _ in range(2))
    for side, kernel, padding in zip(shape, layer.kernel, layer.padding, strict=False):
        assume(side + 2 * padding >= kernel)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    return torch.from_numpy(rng.integers(-32768, 32768, (2, *shape, 3)))


@given(for_torch(), st.data())
@settings(max_examples=200)
def test_maximum_matches_torch(fields, data):
    layer = MaxPooling(**fields)
    inputs = torch_input(data, layer)
    expected = functional.max_pool2d(inputs.double().movedim(3, 1), **arguments(layer))
    found, outputs = pooling.layer(layer, inputs, shift=0, width=16)
    assert torch.equal(found, outputs)
    assert torch.equal(found, expected.movedim(1, 3).to(torch.int64))


@given(for_torch(), st.booleans(), st.data())
@settings(max_examples=200)
def test_mean_matches_torch(fields, count_padding, data):
    """Sums and areas are PyTorch's, and so are the means but for the bound that is documented."""
    layer = AveragePooling(count_padding=count_padding, weight_radix=31, **fields)
    inputs = torch_input(data, layer)
    real = inputs.double().movedim(3, 1)
    mean = functional.avg_pool2d(real, count_include_pad=count_padding, **arguments(layer))
    found, outputs = pooling.layer(layer, inputs, shift=31, width=16)
    bound = layer.area * 2.0 ** (16 - 2 - 31)
    assert (found.double() * 2.0**-31 - mean.movedim(1, 3)).abs().max() <= bound + 1e-9
    assert (outputs - mean.movedim(1, 3).round()).abs().max() <= 1

    ones = torch.ones_like(real)
    counted = functional.avg_pool2d(ones, divisor_override=1, **arguments(layer))
    areas = counted / functional.avg_pool2d(
        ones, count_include_pad=count_padding, **arguments(layer)
    )
    rows, columns = layer.areas(tuple(inputs.shape[1:]))
    assert torch.equal(
        torch.tensor(rows)[:, None] * torch.tensor(columns), areas[0, 0].round().to(torch.int64)
    )


@pytest.mark.parametrize("area", [1, 2, 4, 16, 64, 1024])
def test_means_of_areas_that_are_powers_of_two_are_exact(area):
    layer = AveragePooling(
        name="pool",
        output_radix=0,
        activation="none",
        kernel=(1, area),
        stride=(1, area),
        weight_radix=AveragePooling.close_radix(area, 16),
    )
    rng = np.random.default_rng(area)
    inputs = rng.integers(-32768, 32768, (50, 1, area, 1))
    _, outputs = pooling.layer(layer, torch.from_numpy(inputs), shift=layer.weight_radix, width=16)
    expected = [round(Fraction(int(x.sum()), area)) for x in inputs]
    assert outputs.flatten().tolist() == expected


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("area", [3, 9, 25, 36, 49, 169, 225, 1000])
def test_close_radix_brings_means_within_one(area, width):
    radix = AveragePooling.close_radix(area, width)
    layer = AveragePooling(
        name="pool", output_radix=0, activation="none", kernel=(1, area), weight_radix=radix
    )
    assert abs(Fraction(layer.reciprocal(area), 2**radix) - Fraction(1, area)) <= Fraction(
        1, 2 ** (radix + 1)
    )
    # The bound that is documented is one of the mean, in last places of the input.
    assert area * Fraction(2) ** (width - 2 - radix) < Fraction(1, 2)
    high = 2 ** (width - 1) - 1
    for value in -high - 1, high, high - 1:
        inputs = torch.full((1, 1, area, 1), value)
        _, outputs = pooling.layer(layer, inputs, shift=radix, width=width)
        assert abs(outputs.item() - value) <= 1


def test_whole_map():
    """Global average pooling has a kernel of the size of the map."""
    layer = AveragePooling(
        name="pool", output_radix=0, activation="none", kernel=(15, 15), weight_radix=23
    )
    inputs = torch.from_numpy(np.random.default_rng(1).integers(-100, 100, (2, 15, 15, 7)))
    _, outputs = pooling.layer(layer, inputs, shift=23, width=8)
    assert outputs.shape == (2, 1, 1, 7)
    exact = [[Fraction(int(x), 225) for x in own] for own in inputs.sum(dim=(1, 2))]
    assert all(
        abs(found - mean) <= 1
        for own, means in zip(outputs.flatten(1).tolist(), exact, strict=True)
        for found, mean in zip(own, means, strict=True)
    )


def test_greatest_sum_fits_its_bits():
    layer = AveragePooling(
        name="pool", output_radix=0, activation="none", kernel=(3, 3), weight_radix=31
    )
    sums, _ = pooling.layer(layer, torch.full((1, 3, 3, 1), -32768), shift=31, width=16)
    # 9 * round(2**31 / 9) is a little less than 2**31.
    assert sums.item() == -(2**31 - 2) * 2**15
    assert layer.accumulator_bits(16) == 47


@pytest.mark.parametrize("fields", [{"ceil_mode": True}, {"padding": (0, 1, 0, 0)}])
def test_greatest_sum_of_a_window_at_the_edge(fields):
    """Windows of 2 have an exact reciprocal, of 3 one that is rounded down."""
    layer = AveragePooling(
        name="pool",
        output_radix=0,
        activation="none",
        weight_radix=2,
        kernel=(1, 3),
        stride=(1, 3),
        **fields,
    )
    sums, _ = pooling.layer(layer, torch.full((1, 1, 5, 1), -128), shift=2, width=8)
    assert sorted(sums.flatten().tolist()) == [-2 * 2 * 128, -3 * 1 * 128]
    assert layer.accumulator_bits(8) == 11
    exact = dataclasses.replace(layer, ceil_mode=False, padding=(0, 0, 0, 0))
    assert exact.accumulator_bits(8) == 10


def test_wrong_inputs():
    layer = MaxPooling(name="pool", output_radix=0, activation="none", kernel=(2, 2))
    with pytest.raises(ValueError, match=r"^inputs must be of shape \(batch, height, width, chan"):
        pooling.layer(layer, torch.zeros((4, 4, 2), dtype=torch.int64), shift=0, width=8)
    with pytest.raises(ValueError, match=r"^inputs must lie within -128 to 127, not 0 to 128$"):
        pooling.layer(layer, torch.tensor([[[[0], [128]]]]), shift=0, width=8)
    with pytest.raises(TypeError, match=r"^inputs must be of a signed integer dtype"):
        pooling.layer(layer, torch.zeros((1, 4, 4, 2)), shift=0, width=8)
