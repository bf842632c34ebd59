import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.fixed import limits
from golden.winograd import (
    PADDINGS,
    POINTS,
    Widths,
    convolve,
    convolve_transformed,
    layer,
    phases,
    transform,
    widths,
)

tiles = pytest.mark.parametrize("tile", POINTS)


def direct(inputs, weights, padding):
    """What PyTorch makes of it, in integers."""
    return torch.nn.functional.conv2d(
        inputs.to(torch.int64), weights.to(torch.int64), padding=padding
    )


def plain(image, kernel, padding):
    """Plain Python, number by number: ``image[channel][row][column]``, ``kernel`` alike."""
    pad = 1 if padding == "same" else 0
    height, width = len(image[0]), len(image[0][0])
    results = []
    for y in range(height + 2 * pad - 2):
        results.append([])
        for x in range(width + 2 * pad - 2):
            total = 0
            for channel, taps in enumerate(kernel):
                for i, j in itertools.product(range(3), repeat=2):
                    row, column = y + i - pad, x + j - pad
                    if 0 <= row < height and 0 <= column < width:
                        total += image[channel][row][column] * taps[i][j]
            results[-1].append(total)
    return results


@tiles
def test_identity(tile):
    """The sum over products is the convolution, as a polynomial identity: for all numbers.

    In two dimensions the matrices are applied along each, so that one is enough.
    """
    f = transform(tile)
    for p, r, t in itertools.product(range(tile), range(f.size), range(3)):
        total = sum(f.outputs[p][n] * f.inputs[n][r] * f.weights[n][t] for n in range(f.size))
        assert total == f.scale * (r == p + t)


@tiles
def test_matrices_are_those_of_the_points(tile):
    """Row n of G has the powers of point n; row n of B is 0 at all points but that one."""
    f = transform(tile)
    points = POINTS[tile]
    for n, point in enumerate(points):
        assert f.weights[n] == (1, point, point**2)
        values = [sum(x * other**k for k, x in enumerate(f.inputs[n])) for other in points]
        assert [value != 0 for value in values] == [m == n for m in range(len(points))]
        assert all(f.outputs[p][n] == Fraction(f.scale, values[n]) * point**p for p in range(tile))
    assert f.weights[-1] == (0, 0, 1)
    assert [row[-1] for row in f.outputs] == [0] * (tile - 1) + [f.scale]


def test_matrices_of_four():
    f = transform(4)
    assert f.inputs == (
        (4, 0, -5, 0, 1, 0),
        (0, 4, 4, -1, -1, 0),
        (0, -4, 4, 1, -1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    )
    assert f.outputs == (
        (6, 4, 4, 1, 1, 0),
        (0, 4, -4, 2, -2, 0),
        (0, 4, 4, 4, 4, 0),
        (0, 4, -4, 8, -8, 24),
    )
    assert (f.scale, f.shift, f.odd) == (24, 6, 9)
    assert (transform(2).scale, transform(2).shift, transform(2).odd) == (2, 2, 1)


@pytest.mark.parametrize("tile", [3, 0, 6, 2.5, "2", True])
def test_tile_wrong(tile):
    with pytest.raises(ValueError, match=rf"^tile must be one of \(2, 4\), not {tile!r}$"):
        transform(tile)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ((2, 8, 8, 512), Widths(10, 12, 21, 28, 30)),
        ((4, 8, 8, 512), Widths(15, 14, 26, 28, 34)),
        ((2, 16, 8, 64), Widths(18, 12, 29, 33, 35)),
        ((2, 16, 16, 512), Widths(18, 20, 37, 44, 46)),
        ((4, 16, 16, 512), Widths(23, 22, 42, 44, 50)),
        # 9 * 2**14 is below 2**18, and 227 channels are the most below 2**25.
        ((4, 8, 8, 1), Widths(15, 14, 26, 19, 25)),
        ((4, 8, 8, 227), Widths(15, 14, 26, 26, 32)),
        ((4, 8, 8, 228), Widths(15, 14, 26, 27, 33)),
    ],
)
def test_widths(case, expected):
    assert widths(*case) == expected


def extremes(matrix, low, high, place):
    """The two arrays X that make the number at ``place`` of M X M' the least and the largest."""
    first, second = torch.tensor(matrix[place[0]]), torch.tensor(matrix[place[1]])
    factors = first[:, None] * second
    least = torch.where(factors > 0, low, high)
    return least, torch.where(factors > 0, high, low)


def fits(number, width):
    return -(1 << (width - 1)) <= number < 1 << (width - 1)


@tiles
@pytest.mark.parametrize("activation_width", [3, 8, 16])
@pytest.mark.parametrize("weight_width", [2, 8, 16])
def test_widths_are_enough_and_not_too_much(tile, activation_width, weight_width):
    """Numbers that reach the ends of each width are found from the signs of the matrices."""
    f = transform(tile)
    bits = widths(tile, activation_width, weight_width, 5)
    seen = {"value": [], "weight": [], "product": []}
    for place in itertools.product(range(f.size), repeat=2):
        ends = {}
        for name, matrix, width in (
            ("value", f.inputs, activation_width),
            ("weight", f.weights, weight_width),
        ):
            rows = torch.tensor(matrix)
            ends[name] = [
                int((rows @ x @ rows.T)[place]) for x in extremes(matrix, *limits(width), place)
            ]
            seen[name] += ends[name]
        seen["product"] += [x * y for x in ends["value"] for y in ends["weight"]]
    for name, numbers in seen.items():
        width = getattr(bits, name)
        assert all(fits(number, width) for number in numbers)
        assert not all(fits(number, width - 1) for number in numbers)
    most = 45 << (activation_width + weight_width - 2)
    assert fits(most, bits.result)
    assert not fits(most, bits.result - 1)
    assert bits.accumulator == bits.result + {2: 2, 4: 6}[tile]


@pytest.mark.parametrize("name", ["activation_width", "weight_width"])
@pytest.mark.parametrize("value", [1, 17, 8.0, "8", None, True])
def test_width_wrong(name, value):
    arguments = {"activation_width": 8, "weight_width": 8, name: value}
    with pytest.raises(TypeError, match=f"^{name} must be an integer from 2 to 16, not {value!r}$"):
        widths(2, channels=1, **arguments)


@pytest.mark.parametrize("value", [0, -1, 1.0, True])
def test_channels_wrong(value):
    with pytest.raises(TypeError, match=f"^channels must be a positive integer, not {value!r}$"):
        widths(2, 8, 8, value)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_matches_pytorch(data):
    tile = data.draw(st.sampled_from(list(POINTS)))
    padding = data.draw(st.sampled_from(PADDINGS))
    least = 1 if padding == "same" else 3
    batch, channels, kernels = (data.draw(st.integers(1, n)) for n in (2, 9, 5))
    height, width = (data.draw(st.integers(least, 14)) for _ in range(2))
    a, w = (data.draw(st.sampled_from([2, 8, 16])) for _ in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1 << 32)))

    def numbers(bits, *shape):
        low, high = limits(bits)
        if data.draw(st.booleans()):
            return torch.randint(low, high + 1, shape, generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < 0.5, low, high)

    inputs = numbers(a, batch, channels, height, width)
    weights = numbers(w, kernels, channels, 3, 3)
    results = convolve(
        inputs, weights, tile=tile, padding=padding, activation_width=a, weight_width=w
    )
    assert torch.equal(results, direct(inputs, weights, padding))


@tiles
@pytest.mark.parametrize("padding", PADDINGS)
def test_matches_plain_python(tile, padding):
    generator = torch.Generator().manual_seed(tile)
    for height, width in (3, 3), (3, 8), (7, 5), (9, 4):
        image = torch.randint(-128, 128, (3, height, width), generator=generator)
        kernel = torch.randint(-128, 128, (3, 3, 3), generator=generator)
        results = convolve(image[None], kernel[None], tile=tile, padding=padding)
        assert results[0, 0].tolist() == plain(image.tolist(), kernel.tolist(), padding)


@tiles
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 1)])
def test_smallest_images(tile, size):
    image = torch.full((1, 2, *size), -128)
    kernels = torch.full((1, 2, 3, 3), -128)
    results = convolve(image, kernels, tile=tile, padding="same")
    assert torch.equal(results, direct(image, kernels, "same"))


@tiles
@pytest.mark.parametrize(("activation_width", "weight_width"), [(8, 8), (8, 16), (16, 16)])
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_worst_cases(tile, activation_width, weight_width, channels):
    """The patterns of signs that make V and U as large as they can be, in every channel.

    Accumulators wrap around on the way, time and again.
    """
    f = transform(tile)
    low, high = limits(activation_width)
    for place in [(0, 0), (1, 1), (f.size - 1, f.size - 1), (0, 2), (2, 1)]:
        for image in extremes(f.inputs, low, high, place):
            for kernel in extremes(f.weights, *limits(weight_width), place):
                inputs = image.expand(1, channels, -1, -1)
                weights = kernel.expand(2, channels, -1, -1)
                results = convolve(
                    inputs,
                    weights,
                    tile=tile,
                    padding="valid",
                    activation_width=activation_width,
                    weight_width=weight_width,
                )
                assert torch.equal(results, direct(inputs, weights, "valid"))
    inputs = torch.full((1, channels, 5, 6), low)
    weights = torch.full((1, channels, 3, 3), limits(weight_width)[0])
    results = convolve(
        inputs,
        weights,
        tile=tile,
        padding="same",
        activation_width=activation_width,
        weight_width=weight_width,
    )
    assert torch.equal(results, direct(inputs, weights, "same"))
    most = 9 * channels << (activation_width + weight_width - 2)
    assert int(results.max()) == most


@tiles
def test_a_bit_less_is_not_enough(tile, monkeypatch):
    """Accumulators of W + k - 1 bits lose the sign of the largest result."""
    import golden.winograd as module

    inputs, weights = torch.full((1, 4, 4, 4), -128), torch.full((1, 4, 3, 3), -128)
    exact = widths(tile, 8, 8, 4)
    narrow = Widths(
        exact.value, exact.weight, exact.product, exact.result - 1, exact.accumulator - 1
    )
    monkeypatch.setattr(module, "widths", lambda *_: narrow)
    results = convolve(inputs, weights, tile=tile, padding="valid")
    assert not torch.equal(results, direct(inputs, weights, "valid"))


@tiles
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("shift", [0, 1, 7, 20])
def test_layer(tile, activation, shift):
    generator = torch.Generator().manual_seed(shift)
    inputs = torch.randint(-128, 128, (2, 5, 6, 7), generator=generator)
    weights = torch.randint(-128, 128, (4, 5, 3, 3), generator=generator)
    bias = torch.tensor([0, 1 << 20, -(1 << 20), 77])
    sums, outputs = layer(
        inputs,
        weights,
        bias,
        tile=tile,
        padding="same",
        shift=shift,
        activation=activation,
    )
    assert torch.equal(sums, direct(inputs, weights, "same") + bias[:, None, None])
    low, high = limits(8, activation)
    rounded = [round(Fraction(x, 2**shift)) for x in sums.flatten().tolist()]
    assert outputs.flatten().tolist() == [min(max(x, low), high) for x in rounded]


def spread(outputs):
    """Results of a tile ``[batch, kernels, tile, tile, rows, columns]`` at their places."""
    batch, kernels, tile, _, rows, columns = outputs.shape
    ordered = outputs.permute(0, 1, 4, 2, 5, 3)
    return ordered.reshape(batch, kernels, rows * tile, columns * tile)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_transformed_matches_pytorch(data):
    """Each result of a tile is a convolution with a stride, of a kernel found by plain Python."""
    f = transform(data.draw(st.sampled_from(list(POINTS))))
    padding = data.draw(st.sampled_from(PADDINGS))
    least = 1 if padding == "same" else 3
    batch, channels, kernels = (data.draw(st.integers(1, n)) for n in (2, 5, 4))
    height, width = (data.draw(st.integers(least, 14)) for _ in range(2))
    a, w = (data.draw(st.sampled_from([2, 8, 16])) for _ in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1 << 32)))
    inputs, weights = (
        torch.randint(*(n + k for k, n in enumerate(limits(bits))), shape, generator=generator)
        for bits, shape in (
            (a, (batch, channels, height, width)),
            (w, (kernels, channels, f.size, f.size)),
        )
    )
    steps = range(f.size)
    kernel = torch.zeros(kernels, f.tile, f.tile, channels, f.size, f.size, dtype=torch.int64)
    for i, j, p, q, r, s in itertools.product(steps, steps, *[range(f.tile)] * 2, steps, steps):
        factor = f.outputs[p][i] * f.outputs[q][j] * f.inputs[i][r] * f.inputs[j][s]
        kernel[:, p, q, :, r, s] += factor * weights[:, :, i, j]
    assert torch.equal(phases(weights, f.tile), kernel)

    pad = int(padding == "same")
    image = torch.nn.functional.pad(inputs, (pad, pad + f.tile, pad, pad + f.tile))
    found = torch.nn.functional.conv2d(image, kernel.flatten(0, 2), stride=f.tile)
    expected = spread(found.unflatten(1, (kernels, f.tile, f.tile)))
    rows, columns = height - 2 + 2 * pad, width - 2 + 2 * pad
    results = convolve_transformed(
        inputs, weights, tile=f.tile, padding=padding, activation_width=a, weight_width=w
    )
    assert torch.equal(results, expected[:, :, :rows, :columns])


@tiles
@pytest.mark.parametrize("padding", PADDINGS)
def test_transformed_is_a_multiple_of_direct(tile, padding):
    f = transform(tile)
    generator = torch.Generator().manual_seed(tile)
    inputs = torch.randint(-128, 128, (2, 3, 9, 6), generator=generator)
    weights = torch.randint(-128, 128, (4, 3, 3, 3), generator=generator)
    g = torch.tensor(f.weights)
    results = convolve_transformed(
        inputs, g @ weights @ g.T, tile=tile, padding=padding, weight_width=14
    )
    assert torch.equal(results, f.scale**2 * direct(inputs, weights, padding))


@tiles
def test_layer_of_transformed(tile):
    size = tile + 2
    generator = torch.Generator().manual_seed(tile)
    inputs = torch.randint(-128, 128, (2, 5, 6, 7), generator=generator)
    weights = torch.randint(-128, 128, (2, 5, size, size), generator=generator)
    bias = torch.tensor([1 << 20, -77])
    options = {"tile": tile, "padding": "valid"}
    sums, outputs = layer(inputs, weights, bias, **options, shift=9, activation="relu")
    assert torch.equal(sums, convolve_transformed(inputs, weights, **options) + bias[:, None, None])
    rounded = [round(Fraction(x, 2**9)) for x in sums.flatten().tolist()]
    assert outputs.flatten().tolist() == [min(max(x, 0), 127) for x in rounded]


CORRECT = {
    "inputs": torch.zeros(1, 2, 4, 4, dtype=torch.int8),
    "weights": torch.zeros(3, 2, 3, 3, dtype=torch.int8),
    "tile": 2,
    "padding": "same",
}


def refuses(kind, message, **changes):
    with pytest.raises(kind, match=f"^{message}$"):
        convolve(**{**CORRECT, **changes})


def test_small_dtypes_do_not_wrap():
    full = {name: CORRECT[name] - 128 for name in ("inputs", "weights")}
    assert int(convolve(**{**CORRECT, **full}).max()) == 18 << 14


@pytest.mark.parametrize("name", ["inputs", "weights"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.complex64, torch.bool])
def test_dtype_wrong(name, dtype):
    message = f"{name} must be of a signed integer dtype, not {dtype}"
    refuses(TypeError, message, **{name: CORRECT[name].to(dtype)})


@pytest.mark.parametrize("name", ["inputs", "weights"])
@pytest.mark.parametrize("number", [128, -129])
def test_number_wrong(name, number):
    changed = CORRECT[name].to(torch.int64)
    changed[0, 1, 2, 2] = number
    message = f"{name} must lie within -128 to 127, not {min(number, 0)} to {max(number, 0)}"
    refuses(ValueError, message, **{name: changed})


def test_padding_wrong():
    refuses(ValueError, r"padding must be one of \('same', 'valid'\), not 'full'", padding="full")


@pytest.mark.parametrize(
    ("shape", "padding", "least"),
    [
        ((2, 4, 4), "same", 1),
        ((1, 0, 4, 4), "same", 1),
        ((1, 2, 0, 4), "same", 1),
        ((1, 2, 2, 4), "valid", 3),
        ((1, 2, 4, 2), "valid", 3),
    ],
)
def test_shape_of_inputs_wrong(shape, padding, least):
    message = (
        r"inputs must be of shape \(batch, channels, height, width\), at least "
        rf"{least} high and wide, not \({', '.join(map(str, shape))}\)"
    )
    refuses(ValueError, message, inputs=torch.zeros(shape, dtype=torch.int8), padding=padding)


@pytest.mark.parametrize("shape", [(3, 1, 3, 3), (0, 2, 3, 3), (3, 2, 3, 2), (2, 3, 3)])
def test_shape_of_weights_wrong(shape):
    message = (
        rf"weights must be of shape \(kernels, 2, 3, 3\), not \({', '.join(map(str, shape))}\)"
    )
    refuses(ValueError, message, weights=torch.zeros(shape, dtype=torch.int8))


def test_bias_wrong():
    arguments = {**CORRECT, "shift": 0}
    with pytest.raises(
        TypeError, match=r"^bias must be of a signed integer dtype, not torch.uint8"
    ):
        layer(**arguments, bias=torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"^bias must be of shape \(3,\), not \(4,\)$"):
        layer(**arguments, bias=torch.zeros(4, dtype=torch.int32))
