"""Routes against nested loops and the golden model's windows; what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.convolution import windows as golden_windows
from golden.errors import FitError
from golden.layers import Addition, AveragePooling, MaxPooling
from golden.pooling import layer as golden_pooling
from hdl.maps.fold import Folding, Operation
from hdl.maps.walk import Route
from mapping.maps import (
    Loop,
    Map,
    Rectangle,
    addition,
    folding,
    pack,
    pixels,
    places,
    rectangles,
    route,
    unpack,
    whole,
    windows,
)

LAYOUT = Route(5, 20, 12)


@st.composite
def nests(draw):
    """A layout, and loops whose places have rows and columns that it has room for."""
    layout = Route(draw(st.integers(1, 4)), draw(st.integers(3, 9)), 7)
    stride = st.integers(-3, 3)
    levels = layout["levels"].shape.length
    loop = st.builds(Loop, st.integers(1, 4), stride, stride, st.integers(-20, 20))
    return layout, draw(st.lists(loop, min_size=1, max_size=levels))


@given(nests(), st.integers(0, 4), st.integers(-20, 20), st.integers(-20, 20))
def test_route_is_nested_loops(nest, inner, row, column):
    layout, loops = nest
    inner = min(inner, len(loops))
    source = Map(height=5, width=6, words=1, base=1, pitch=1)
    depth = 1 << layout["address"].width
    if source.base + source.size > depth:
        return
    found = places(layout, route(layout, loops, inner=inner, source=source, row=row, column=column))
    counts = [range(loop.count) for loop in reversed(loops)]
    expected = []
    for numbers in itertools.product(*counts):
        pairs = list(zip(reversed(numbers), loops, strict=True))
        here = [
            first + sum(number * loop[axis] for number, loop in pairs)
            for axis, first in ((1, row), (2, column), (3, source.address(row, column)))
        ]
        ends = [number == loop.count - 1 for number, loop in pairs]
        inside = here[0] in range(5) and here[1] in range(6)
        expected.append((here[2] % depth, inside, all(ends[:inner]), all(ends)))
    actual = [found[key].tolist() for key in ("address", "inside", "ends_window", "ends_route")]
    assert list(zip(*actual, strict=True)) == expected


SIDES = st.integers(1, 4)


@st.composite
def layers(draw, kind):
    """A pooling layer, and a shape that it fits."""
    kernel = draw(st.tuples(SIDES, SIDES))
    more = {}
    if kind is AveragePooling:
        more |= {"count_padding": draw(st.booleans()), "weight_radix": draw(st.integers(4, 12))}
    layer = kind(
        name="layer",
        output_radix=0,
        activation="none",
        kernel=kernel,
        stride=draw(st.tuples(SIDES, SIDES)),
        padding=draw(st.tuples(*(st.integers(0, side - 1) for side in kernel * 2))),
        ceil_mode=draw(st.booleans()),
        **more,
    )
    height = draw(st.integers(max(1, kernel[0] - sum(layer.padding[::2])), 8))
    width = draw(st.integers(max(1, kernel[1] - sum(layer.padding[1::2])), 8))
    return layer, (height, width, draw(st.integers(1, 7)))


def addresses(source, shape):
    """A map whose activations are the addresses of their words."""
    rows, columns, words = np.indices((*shape[:2], source.words))
    return source.base + (rows * source.width + columns) * source.pitch + words


@st.composite
def cases(draw, kind):
    layer, shape = draw(layers(kind))
    source = Map.of(shape, scan_width=draw(st.integers(1, 4)), base=draw(st.integers(0, 50)))
    if source.words > 1 and draw(st.booleans()):
        first = draw(st.integers(0, source.words - 1))
        source = source.part(first, draw(st.integers(1, source.words - first)))
    return layer, shape, source


@given(cases(MaxPooling), st.booleans())
def test_windows_are_those_of_the_golden_model(case, channels_last):
    """Word by word, whether they lie over padding, and where windows end."""
    layer, shape, source = case
    rectangle = whole(layer, shape)
    found = places(LAYOUT, windows(LAYOUT, layer, source, rectangle, channels_last=channels_last))
    spread = golden_windows(
        layer, torch.from_numpy(addresses(source, shape))[None], pad=-1, ceil=layer.ceil_mode
    )[0].numpy()
    assert spread.shape[:2] == rectangle[2:]
    if not channels_last:
        spread = spread.transpose(0, 1, 4, 2, 3)
    size = spread[0, 0].size if channels_last else spread[0, 0, 0].size
    expected = spread.ravel()
    assert np.array_equal(np.where(found["inside"], found["address"], -1), expected)
    assert np.array_equal(found["ends_window"], np.arange(1, len(expected) + 1) % size == 0)
    assert found["ends_route"].nonzero()[0].tolist() == [len(expected) - 1]


@given(cases(AveragePooling))
def test_rectangles_make_means(case):
    """Each window is in one, with its reciprocal; folded so, they are what pooling makes."""
    layer, shape, source = case
    rng = np.random.default_rng(0)
    image = rng.integers(-128, 128, shape)
    found = rectangles(layer, shape)
    expected, _ = golden_pooling(layer, torch.from_numpy(image)[None], shift=0, width=8)
    actual = np.zeros(expected.shape[1:3], int)
    for rectangle, factor in found:
        spread = golden_windows(layer, torch.from_numpy(image)[None], ceil=layer.ceil_mode)[0]
        rows = slice(rectangle.row, rectangle.row + rectangle.height)
        columns = slice(rectangle.column, rectangle.column + rectangle.width)
        actual[rows, columns] += spread[rows, columns, ..., 0].sum(dim=(2, 3)).numpy() * factor
    assert np.array_equal(actual, expected[0, ..., 0])
    assert sum(rectangle.height * rectangle.width for rectangle, _ in found) == actual.size
    routes = [windows(LAYOUT, layer, source, one, channels_last=False) for one, _ in found]
    # Places of windows in a rectangle are those of all that lie in it.
    every = windows(LAYOUT, layer, source, whole(layer, shape), channels_last=False)
    assert sum(len(places(LAYOUT, one)["address"]) for one in routes) == len(
        places(LAYOUT, every)["address"]
    )


def test_part_of_the_windows():
    """Route of a rectangle: that of all windows, without those beside it."""
    layer = MaxPooling(
        name="pool",
        output_radix=0,
        activation="none",
        kernel=(2, 3),
        stride=(1, 2),
        padding=(1,) * 4,
    )
    source = Map.of((5, 9, 3), scan_width=2, base=7)
    shape = (*whole(layer, (5, 9, 3))[2:], 2, 6)
    for channels_last in False, True:
        every = places(
            LAYOUT,
            windows(
                LAYOUT, layer, source, Rectangle(0, 0, *shape[:2]), channels_last=channels_last
            ),
        )
        some = places(
            LAYOUT,
            windows(LAYOUT, layer, source, Rectangle(1, 2, 3, 2), channels_last=channels_last),
        )
        for key in "address", "inside", "ends_window":
            expected = every[key].reshape(shape)[1:4, 2:4].ravel()
            assert np.array_equal(some[key], expected)


def test_pixels_and_additions():
    first = Map.of((2, 3, 5), scan_width=2, base=100)
    second = Map.of((2, 3, 5), scan_width=2, base=4)
    assert first.words == 3
    assert first.size == 18
    found = places(LAYOUT, pixels(LAYOUT, first))
    assert found["address"].tolist() == list(range(100, 118))
    assert found["inside"].all()
    assert found["ends_window"].all()
    some = places(LAYOUT, pixels(LAYOUT, first.part(1, 2), Rectangle(1, 0, 1, 2)))
    assert some["address"].tolist() == [110, 111, 113, 114]
    pairs = places(LAYOUT, addition(LAYOUT, first, second))
    assert pairs["address"].tolist() == [x for n in range(18) for x in (100 + n, 4 + n)]
    assert pairs["ends_window"].tolist() == [False, True] * 18
    assert pairs["inside"].all()
    with pytest.raises(ValueError, match="^second must be like first, Map"):
        addition(LAYOUT, first, Map.of((3, 2, 5), scan_width=2, base=4))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 5))
def test_packing(height, width, channels, scan_width):
    image = np.random.default_rng(0).integers(-9, 9, (height, width, channels))
    words = pack(image, scan_width)
    source = Map.of(image.shape, scan_width=scan_width, base=0)
    assert words.shape == (source.size, scan_width)
    assert np.array_equal(unpack(words, image.shape), image)
    flat = words.reshape(height, width, -1)
    assert not flat[:, :, channels:].any()


MAP = Map(height=3, width=4, words=2, base=2, pitch=2)


@pytest.mark.parametrize(
    ("layout", "loops", "message"),
    [
        (Route(1, 5, 6), [Loop(1), Loop(1)], "levels must be at least 2, not 1"),
        (
            Route(1, 4, 6),
            [Loop(1)],
            "address_width must be at least 5 for a map of 24 words at 2, not 4",
        ),
        (Route(1, 5, 3), [Loop(1)], "coordinate_width must be at least 4, not 3"),
        (Route(1, 5, 4), [Loop(16)], "coordinate_width must be at least 5, not 4"),
        (Route(1, 5, 4), [Loop(9, row=1)], "coordinate_width must be at least 5, not 4"),
        (Route(1, 5, 4), [Loop(6, column=-2)], "coordinate_width must be at least 5, not 4"),
    ],
)
def test_what_does_not_fit(layout, loops, message):
    with pytest.raises(FitError, match=f"^{message}$"):
        route(layout, loops, inner=0, source=MAP)


def test_what_just_fits():
    layout = Route(1, 5, 4)
    for loop in Loop(15), Loop(8, row=1), Loop(5, column=-2):
        assert (
            len(places(layout, route(layout, [loop], inner=0, source=MAP))["inside"]) == loop.count
        )


def pool(**more):
    common = {"name": "pool", "output_radix": 0, "activation": "none"}
    return AveragePooling(**common, **{"kernel": (3, 3), "weight_radix": 10, **more})


def test_folding():
    layout = Folding(8, 18, 18)
    add = Addition(name="add", output_radix=0, activation="relu")
    fields = folding(layout, add, factor=1 << 16, shift=35, width=8)
    assert fields == {
        "operation": Operation.ADD,
        "factor": 1 << 16,
        "shift": 35,
        "low": 0,
        "high": 127,
    }
    assert folding(layout, pool(), factor=1, shift=0, width=8)["low"] == -128
    assert folding(layout, pool(kernel=(32, 32)), factor=1, shift=0, width=8)["factor"] == 1


@pytest.mark.parametrize(
    ("layer", "factor", "shift", "message"),
    [
        (pool(), 1 << 17, 0, "factor_width must be at least 19, not 18"),
        (
            pool(kernel=(33, 32), weight_radix=11),
            1,
            0,
            "accumulator_width must be at least 19, not 18",
        ),
        (pool(), 1, 36, "accumulator_width must be at least 19, not 18"),
    ],
)
def test_folding_that_does_not_fit(layer, factor, shift, message):
    with pytest.raises(FitError, match=f"^{message}$"):
        folding(Folding(8, 18, 18), layer, factor=factor, shift=shift, width=8)


@pytest.mark.parametrize("part", [(-1, 1), (0, 0), (1, 2), (2, 1)])
def test_wrong_part(part):
    first, words = part
    message = f"^words must be some of the 2 of a pixel, not {words} from {first} on$"
    with pytest.raises(ValueError, match=message):
        MAP.part(first, words)
