"""Layers and networks for tests: hypothesis strategies, small ones by hand, and a comparison."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden.image import Layer, Network

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


@st.composite
def vectors(draw, dtype, size):
    """Vectors of any integers, or of the two extreme ones only."""
    dtype = np.dtype(dtype)
    count = size * dtype.itemsize
    vector = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), dtype)
    if draw(st.booleans()):
        return vector.copy()
    limits = np.iinfo(dtype)
    return np.where(vector < 0, limits.min, limits.max).astype(dtype)


@st.composite
def matrices(draw, outputs, inputs, code_width):
    """Codes of a matrix: mostly zero, dense, empty, or with runs of empty columns or rows."""
    shape = (outputs, inputs)
    codes = st.integers(1, 2**code_width - 1)
    kind = draw(st.sampled_from(["sparse", "sparse", "dense", "empty"]))
    if kind == "empty":
        return np.zeros(shape, np.uint8)
    fill = st.just(0) if kind == "sparse" else None
    matrix = draw(arrays(np.uint8, shape, elements=codes, fill=fill))
    for axis, size in enumerate(shape):
        first = draw(st.integers(0, size))
        last = draw(st.integers(0, size))
        lines = [slice(None), slice(None)]
        lines[axis] = slice(first, last)
        matrix[tuple(lines)] = 0
    return matrix


@st.composite
def layers(draw, name="layer", inputs=None, input_radix=0, max_side=8):
    """Legal layers, whose shift is legal for inputs of ``input_radix``."""
    sides = st.integers(1, max_side)
    outputs = draw(sides)
    inputs = inputs or draw(sides)
    code_width = draw(st.integers(2, 8))
    codebook = draw(vectors(np.int16, 2**code_width))
    codebook[0] = 0
    radix = input_radix + draw(st.integers(max(0, -16 - input_radix), 31))
    return Layer.from_matrix(
        name,
        draw(matrices(outputs, inputs, code_width)),
        codebook=codebook,
        code_width=code_width,
        weight_radix=radix - input_radix,
        bias=draw(vectors(np.int32, outputs)),
        output_radix=draw(st.integers(max(-16, radix - 47), min(31, radix))),
        activation=draw(st.sampled_from(["none", "relu"])),
    )


@st.composite
def networks(draw, max_layers=3, max_side=8):
    """Legal networks, with known answers (of arbitrary numbers) or without."""
    width = draw(st.sampled_from([8, 16]))
    radix = first_radix = draw(st.integers(0, width - 1))
    chain = []
    for name in draw(st.lists(names, min_size=1, max_size=max_layers, unique=True)):
        inputs = chain[-1].outputs if chain else None
        chain.append(draw(layers(name, inputs, radix, max_side)))
        radix = chain[-1].output_radix
    known_inputs = known_outputs = None
    if draw(st.booleans()):
        count = draw(st.integers(1, 3))
        high = 2 ** (width - 1) - 1
        low = 0 if chain[-1].activation == "relu" else -high - 1
        inputs = (count, chain[0].inputs)
        outputs = (count, chain[-1].outputs)
        known_inputs = draw(arrays(np.int16, inputs, elements=st.integers(-high - 1, high)))
        known_outputs = draw(arrays(np.int16, outputs, elements=st.integers(low, high)))
    return Network(draw(names), tuple(chain), width, first_radix, known_inputs, known_outputs)


def content(network):
    """All that a network consists of, in a form that compares with ``==``."""

    def plain(value):
        return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value

    layers = [{field: plain(value) for field, value in vars(x).items()} for x in network.layers]
    return {field: plain(value) for field, value in vars(network).items()} | {"layers": layers}


def uint8(*values):
    return np.array(values, np.uint8)


def small_layer(**changes):
    """A layer of 3 outputs and 4 inputs, whose column 1 is empty."""
    fields = {
        "name": "fc",
        "codes": np.array([1, 3, 2, 1], np.uint8),
        "rows": np.array([0, 2, 1, 2], np.int32),
        "column_starts": np.array([0, 2, 2, 3, 4]),
        "codebook": np.array([0, 5, -6, 7], np.int16),
        "code_width": 2,
        "weight_radix": 3,
        "bias": np.array([1, -2, 3], np.int32),
        "output_radix": 2,
        "activation": "none",
    }
    return Layer(**fields | changes)


def small_network(**changes):
    """A network of 4 inputs and one such layer."""
    fields = {"name": "net", "layers": (small_layer(),), "activation_width": 8, "input_radix": 4}
    return Network(**fields | changes)


def matrix_layer(codes, name="fc", bias=0, **changes):
    """A layer of the given codes."""
    fields = {
        "codebook": np.array([0, 5, -6, 7], np.int16),
        "code_width": 2,
        "weight_radix": 0,
        "bias": np.full(len(codes), bias, np.int32),
        "output_radix": 0,
        "activation": "none",
    }
    return Layer.from_matrix(name, codes, **fields | changes)
