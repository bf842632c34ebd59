from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from golden import convolution, winograd
from golden.errors import ImageError
from golden.layers import Convolution
from tests.golden.strategies import convolutions


def plain_layer(layer, image, shift, width):
    """Accumulators and outputs for one feature map, product by product, in plain Python."""
    height, wide, channels = len(image), len(image[0]), len(image[0][0])
    top, left, bottom, right = layer.padding
    rows = (height + top + bottom - layer.kernel[0]) // layer.stride[0] + 1
    columns = (wide + left + right - layer.kernel[1]) // layer.stride[1] + 1
    inputs, outputs = channels // layer.groups, layer.outputs // layer.groups
    high = 2 ** (width - 1) - 1
    low = 0 if layer.activation == "relu" else -high - 1
    weights = layer.dense().tolist()

    def product(y, x, output, ky, kx, channel):
        row, column = y * layer.stride[0] - top + ky, x * layer.stride[1] - left + kx
        if not (0 <= row < height and 0 <= column < wide):
            return 0
        place = (ky * layer.kernel[1] + kx) * inputs + channel
        return weights[output][place] * image[row][column][output // outputs * inputs + channel]

    sums = [
        [
            [
                int(layer.bias[output])
                + sum(
                    product(y, x, output, ky, kx, channel)
                    for ky in range(layer.kernel[0])
                    for kx in range(layer.kernel[1])
                    for channel in range(inputs)
                )
                for output in range(layer.outputs)
            ]
            for x in range(columns)
        ]
        for y in range(rows)
    ]
    rounded = [
        [[min(max(round(Fraction(n, 2**shift)), low), high) for n in pixel] for pixel in row]
        for row in sums
    ]
    return sums, rounded


def torch_sums(layer, inputs):
    """Accumulators by PyTorch, in float64, where all of them are exact."""
    top, left, bottom, right = layer.padding
    padded = functional.pad(inputs.double().movedim(3, 1), (left, right, top, bottom))
    weights = torch.from_numpy(layer.dense().astype(np.float64))
    weights = weights.unflatten(1, (*layer.kernel, -1)).movedim(3, 1)
    bias = torch.from_numpy(layer.bias.astype(np.float64))
    sums = functional.conv2d(padded, weights, bias, stride=layer.stride, groups=layer.groups)
    return sums.movedim(1, 3).to(torch.int64)


def random_layer(rng, channels, outputs, **fields):
    """A convolution with weights at both ends of their range."""
    area = fields["kernel"][0] * fields["kernel"][1]
    return Convolution.from_matrix(
        "conv",
        rng.integers(0, 4, (outputs, area * channels // fields.get("groups", 1)), np.uint8),
        codebook=np.array([0, 32767, -32768, 1], np.int16),
        code_width=2,
        weight_radix=8,
        bias=rng.integers(-(2**31), 2**31, outputs).astype(np.int32),
        output_radix=4,
        activation="none",
        **fields,
    )


@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=60)
def test_matches_plain_python(data, height, wide, channels):
    layer = data.draw(convolutions(shape=(height, wide, channels)))
    width = data.draw(st.sampled_from([8, 16]))
    seed = data.draw(st.integers(0, 2**32))
    high = 2 ** (width - 1)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-high, high, (2, height, wide, channels))
    shift = data.draw(st.integers(0, 47))
    sums, outputs = convolution.layer(layer, torch.from_numpy(inputs), shift=shift, width=width)
    assert sums.dtype == outputs.dtype == torch.int64
    for image, *found in zip(inputs.tolist(), sums.tolist(), outputs.tolist(), strict=True):
        assert found == list(plain_layer(layer, image, shift, width))
    shape = (height, wide, channels)
    assert tuple(sums.shape[1:]) == layer.output_shape(shape)


@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=200)
def test_matches_torch(data, height, wide, channels):
    layer = data.draw(convolutions(shape=(height, wide, channels)))
    seed = data.draw(st.integers(0, 2**32))
    inputs = np.random.default_rng(seed).choice(
        [-32768, -1, 0, 1, 32767], (2, height, wide, channels)
    )
    sums, _ = convolution.layer(layer, torch.from_numpy(inputs), shift=0, width=16)
    assert torch.equal(sums, torch_sums(layer, torch.from_numpy(inputs)))


@pytest.mark.parametrize(
    ("shape", "outputs", "fields"),
    [
        ((28, 28, 1), 20, {"kernel": (5, 5)}),
        ((31, 29, 3), 16, {"kernel": (7, 7), "stride": (2, 2)}),
        ((13, 13, 64), 32, {"kernel": (3, 3), "padding": (1, 1, 1, 1)}),
        ((13, 13, 32), 40, {"kernel": (1, 1), "padding": (1, 1, 1, 1)}),
        ((12, 10, 24), 24, {"kernel": (3, 3), "stride": (2, 1), "groups": 24}),
        ((9, 11, 8), 12, {"kernel": (2, 3), "padding": (0, 1, 2, 3), "groups": 4}),
        ((1, 40, 2), 5, {"kernel": (1, 9), "stride": (1, 3), "padding": (0, 4, 0, 0)}),
    ],
)
@pytest.mark.parametrize("block", [1, 1000, 2**22])
def test_usual_layers_in_blocks(monkeypatch, shape, outputs, fields, block):
    monkeypatch.setattr(convolution, "_BLOCK", block if block > 1 else 5 * outputs)
    rng = np.random.default_rng(outputs)
    layer = random_layer(rng, shape[2], outputs, **fields)
    inputs = torch.from_numpy(rng.integers(-32768, 32768, (3, *shape)))
    if block == 1:
        inputs = inputs[:1, :9, :9]
    sums, _ = convolution.layer(layer, inputs, shift=0, width=16)
    assert torch.equal(sums, torch_sums(layer, inputs))


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_winograd_gives_the_same(tile, padding):
    """Both golden models of a convolution of 3 x 3, bit by bit."""
    rng = np.random.default_rng(tile)
    pad = int(padding == "same")
    layer = Convolution.from_matrix(
        "conv",
        rng.integers(0, 4, (5, 9 * 6), np.uint8),
        kernel=(3, 3),
        padding=(pad,) * 4,
        codebook=np.array([0, 127, -128, 3], np.int16),
        code_width=2,
        weight_radix=8,
        bias=rng.integers(-(2**15), 2**15, 5).astype(np.int32),
        output_radix=4,
        activation="relu",
    )
    inputs = torch.from_numpy(rng.integers(-128, 128, (2, 7, 10, 6)))
    sums, outputs = convolution.layer(layer, inputs, shift=9, width=8)
    weights = torch.from_numpy(layer.dense()).unflatten(1, (3, 3, 6)).movedim(3, 1)
    found = winograd.layer(
        inputs.movedim(3, 1),
        weights,
        torch.from_numpy(layer.bias),
        tile=tile,
        padding=padding,
        shift=9,
        activation="relu",
    )
    assert torch.equal(found[0].movedim(1, 3), sums)
    assert torch.equal(found[1].movedim(1, 3), outputs)


def test_long_sum_is_exact():
    """The last bit of a sum of 2**17 products of the greatest numbers."""
    rng = np.random.default_rng(0)
    layer = random_layer(rng, 2**15, 1, kernel=(2, 2))
    layer.codes[:] = 1
    inputs = torch.full((1, 2, 2, 2**15), 32767)
    sums, _ = convolution.layer(layer, inputs, shift=0, width=16)
    assert sums.item() == int(layer.bias[0]) + layer.nonzeros * 32767**2


def test_empty_batch():
    layer = random_layer(np.random.default_rng(0), 2, 3, kernel=(2, 2))
    inputs = torch.zeros((0, 4, 4, 2), dtype=torch.int64)
    assert convolution.layer(layer, inputs, shift=0, width=8)[1].shape == (0, 3, 3, 3)


def test_wrong_inputs():
    layer = random_layer(np.random.default_rng(0), 2, 3, kernel=(2, 2))

    def run(inputs):
        convolution.layer(layer, inputs, shift=0, width=8)

    with pytest.raises(
        TypeError, match=r"^inputs must be of a signed integer dtype, not torch.flo"
    ):
        run(torch.zeros((1, 4, 4, 2)))
    message = r"^inputs must be of shape \(batch, height, width, 2\), not "
    with pytest.raises(ValueError, match=message):
        run(torch.zeros((1, 4, 4, 3), dtype=torch.int64))
    with pytest.raises(ValueError, match=message):
        run(torch.zeros((4, 4, 2), dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^inputs must lie within -128 to 127, not 128 to 128$"):
        run(torch.full((1, 4, 4, 2), 128))
    with pytest.raises(
        ImageError, match=r"^layer 'conv': kernel must fit its source of shape \(1, "
    ):
        run(torch.zeros((1, 1, 4, 2), dtype=torch.int64))
