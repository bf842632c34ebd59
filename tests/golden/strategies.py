"""Layers and networks for tests: hypothesis strategies, small ones by hand, and a comparison."""

import math
from dataclasses import fields

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    MaxPooling,
    Network,
)

activations = st.sampled_from(["none", "relu"])
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
def weights(draw, inputs, outputs, input_radix=0):
    """Fields of a layer with weights, whose shift is legal for inputs of ``input_radix``."""
    code_width = draw(st.integers(2, 8))
    codebook = draw(vectors(np.int16, 2**code_width))
    codebook[0] = 0
    radix = input_radix + draw(st.integers(max(0, -16 - input_radix), 31))
    return {
        "matrix": draw(matrices(outputs, inputs, code_width)),
        "codebook": codebook,
        "code_width": code_width,
        "weight_radix": radix - input_radix,
        "bias": draw(vectors(np.int32, outputs)),
        "output_radix": draw(st.integers(max(-16, radix - 47), min(31, radix))),
        "activation": draw(activations),
    }


@st.composite
def layers(draw, name="layer", inputs=None, input_radix=0, max_side=8):
    """Legal fully connected layers, whose shift is legal for inputs of ``input_radix``."""
    sides = st.integers(1, max_side)
    outputs = draw(sides)
    inputs = inputs or draw(sides)
    return FullyConnected.from_matrix(name, **draw(weights(inputs, outputs, input_radix)))


@st.composite
def geometry(draw, shape, pooling=False):
    """Kernel, stride and padding of a window that fits a feature map."""
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(2))
    sides = [side - 1 if pooling else 3 for side in kernel * 2]
    padding = [draw(st.integers(0, side)) for side in sides]
    for axis in range(2):
        # What does not fit yet gets its padding at the end, unless a pooling window may have none.
        missing = kernel[axis] - shape[axis] - padding[axis] - padding[axis + 2]
        if missing > 0:
            padding[axis] = padding[axis + 2] = kernel[axis] - 1
    stride = tuple(draw(st.integers(1, 4)) for _ in range(2))
    return {"kernel": kernel, "stride": stride, "padding": tuple(padding)}


@st.composite
def convolutions(draw, name="conv", shape=(4, 5, 2), input_radix=0):
    """Legal convolutions of a feature map."""
    groups = draw(st.sampled_from([n for n in range(1, shape[2] + 1) if shape[2] % n == 0]))
    window = draw(geometry(shape))
    inputs = window["kernel"][0] * window["kernel"][1] * shape[2] // groups
    outputs = groups * draw(st.integers(1, 3))
    fields = draw(weights(inputs, outputs, input_radix))
    return Convolution.from_matrix(name, groups=groups, **window, **fields)


@st.composite
def poolings(draw, name="pool", shape=(4, 5, 2), input_radix=0):
    """Legal poolings of a feature map."""
    fields = draw(geometry(shape, pooling=True)) | {
        "name": name,
        "ceil_mode": draw(st.booleans()),
        "activation": draw(activations),
    }
    if draw(st.booleans()):
        radix = draw(st.integers(max(-16, input_radix - 47), input_radix))
        return MaxPooling(output_radix=radix, **fields)
    area = fields["kernel"][0] * fields["kernel"][1]
    weight_radix = draw(st.integers((area - 1).bit_length(), 31))
    radix = input_radix + weight_radix
    return AveragePooling(
        output_radix=draw(st.integers(max(-16, radix - 47), min(31, radix))),
        weight_radix=weight_radix,
        count_padding=draw(st.booleans()),
        **fields,
    )


@st.composite
def graphs(draw, max_layers=6):
    """Legal networks of all kinds of layers, most of them no chains."""
    width = draw(st.sampled_from([8, 16]))
    sides = st.integers(1, 5)
    shapes = [(draw(sides), draw(sides), draw(st.integers(1, 4)))]
    radixes = [draw(st.integers(0, width - 1))]
    chosen, sources = [], []

    def add(layer, *own):
        chosen.append(layer)
        sources.append(own)
        shapes.append(layer.output_shape(*(shapes[k] for k in own)))
        radixes.append(layer.output_radix)

    for index in range(draw(st.integers(1, max_layers))):
        name, source = f"layer {index}", draw(st.integers(0, index))
        shape, radix = shapes[source], radixes[source]
        pairs = [k for k, other in enumerate(shapes) if other == shape]
        alike = [
            k
            for k, other in enumerate(shapes)
            if other[:-1] == shape[:-1] and len(other) == len(shape) and radixes[k] == radix
        ]
        kinds = ["fully_connected", "add", "concatenate"]
        kinds += ["convolution", "pooling"] * 2 * (len(shape) == 3)
        kind = draw(st.sampled_from(kinds))
        if kind == "fully_connected":
            add(draw(layers(name, math.prod(shape), radix)), source)
        elif kind == "convolution":
            add(draw(convolutions(name, shape, radix)), source)
        elif kind == "pooling":
            add(draw(poolings(name, shape, radix)), source)
        else:
            other = draw(st.sampled_from(pairs if kind == "add" else alike))
            if abs(radixes[other] - radix) > 31:
                other = source
            radix = max(radix, radixes[other])
            common = {
                "name": name,
                "output_radix": draw(st.integers(max(-16, radix - 47), radix)),
                "activation": draw(activations),
            }
            cls = Addition if kind == "add" else Concatenation
            add(cls(**common), *draw(st.permutations([source, other])))
    # What nobody has taken yet goes through a layer of its own, and all of these are joined.
    count = len(chosen)
    loose = set(range(1, count + 1)).difference(*sources)
    if loose != {count}:
        for k in sorted(loose):
            last = draw(weights(math.prod(shapes[k]), 2, radixes[k]))
            last |= {"weight_radix": 0, "output_radix": -16}
            add(FullyConnected.from_matrix(f"end {k}", **last), k)
        joined = Concatenation(name="end", output_radix=-16, activation="none")
        add(joined, *range(count + 1, len(shapes)))
    known_inputs = known_outputs = None
    if draw(st.booleans()):
        high = 2 ** (width - 1) - 1
        low = 0 if chosen[-1].activation == "relu" else -high - 1
        known_inputs = np.full((1, math.prod(shapes[0])), -high - 1, np.int16)
        known_outputs = np.full((1, math.prod(shapes[-1])), low, np.int16)
    return Network(
        draw(names),
        tuple(chosen),
        width,
        radixes[0],
        known_inputs,
        known_outputs,
        shapes[0],
        tuple(sources),
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

    def named(owner):
        return {field.name: plain(getattr(owner, field.name)) for field in fields(owner)}

    layers = [named(x) | {"kind": x.kind} for x in network.layers]
    return named(network) | {"layers": layers}


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
    return FullyConnected(**fields | changes)


def small_network(**changes):
    """A network of 4 inputs and one such layer."""
    fields = {"name": "net", "layers": (small_layer(),), "activation_width": 8, "input_radix": 4}
    return Network(**fields | changes)


def small_graph(**changes):
    """A network with a layer of each kind, on feature maps of 4 x 4 x 2."""
    same = {"output_radix": 4, "activation": "none"}
    halved = same | {"kernel": (2, 2), "stride": (2, 2)}
    codes = np.random.default_rng(0).integers(0, 4, (5, 18), np.uint8)
    codebook = np.array([0, 5, -6, 7], np.int16)
    shared = same | {"codebook": codebook, "code_width": 2, "weight_radix": 3}
    layers = (
        Convolution.from_matrix(
            "conv",
            codes[:2],
            kernel=(3, 3),
            padding=(1, 1, 1, 1),
            bias=np.array([1, -2], np.int32),
            **shared,
        ),
        MaxPooling(name="max", **halved),
        AveragePooling(name="average", weight_radix=2, **halved),
        Addition(name="add", **same),
        Concatenation(name="concatenate", **same),
        FullyConnected.from_matrix(
            "fc", codes[2:, :16], bias=np.array([1, -2, 3], np.int32), **shared
        ),
    )
    fields = {"name": "graph", "layers": layers, "activation_width": 8, "input_radix": 4}
    sources = ((0,), (1,), (1,), (2, 3), (2, 4), (5,))
    return Network(**fields | {"input_shape": (4, 4, 2), "sources": sources} | changes)


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
    return FullyConnected.from_matrix(name, codes, **fields | changes)
