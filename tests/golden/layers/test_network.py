import dataclasses

import numpy as np
import pytest
from hypothesis import given

from golden.errors import ImageError
from golden.layers import Addition, Concatenation, MaxPooling
from tests.golden.strategies import graphs, matrix_layer, small_graph, small_layer, small_network

known_inputs = np.zeros((2, 4), np.int16)
known_outputs = np.zeros((2, 3), np.int16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, r"name must be 1 to 128 printable characters, not None"),
        ({"layers": ()}, r"layers must be 1 to 1024 in number, not 0"),
        ({"layers": (small_layer(),) * 1025}, r"layers must be 1 to 1024 in number, not 1025"),
        ({"layers": (7,)}, r"layers must consist of Layer, not 7"),
        (
            {"layers": (small_layer(),) * 2},
            r"layer 'fc': name must differ from that of other layers",
        ),
        (
            {"layers": (small_layer(), small_layer(name="fc2"))},
            r"layer 'fc2': inputs must be 3, as many activations as its source has, not 4",
        ),
        ({"activation_width": 12}, r"activation_width must be 8 or 16, not 12"),
        ({"activation_width": 32}, r"activation_width must be an integer from 8 to 16, not 32"),
        ({"input_radix": -1}, r"input_radix must be an integer from 0 to 7, not -1"),
        ({"input_radix": 8}, r"input_radix must be an integer from 0 to 7, not 8"),
        (
            {"layers": (small_layer(output_radix=8),)},
            r"layer 'fc': output_radix must make the shift 0 to 47, not -1",
        ),
        (
            {"layers": (small_layer(output_radix=-13, weight_radix=31),)},
            r"layer 'fc': output_radix must make the shift 0 to 47, not 48",
        ),
        ({"known_inputs": known_inputs}, r"known_outputs must be of dtype int16 and two-dimensio"),
        ({"known_outputs": known_outputs}, r"known_inputs must be of dtype int16 and two-dimensi"),
        (
            {"known_inputs": known_inputs.astype(int), "known_outputs": known_outputs},
            r"known_inputs must be of dtype int16 and two-dimensional",
        ),
        (
            {"known_inputs": known_inputs[:, 1:], "known_outputs": known_outputs},
            r"known_inputs must be of shape \(2, 4\), not \(2, 3\)",
        ),
        (
            {"known_inputs": known_inputs[:0], "known_outputs": known_outputs[:0]},
            r"known_inputs must be of shape \(1, 4\), not \(0, 4\)",
        ),
        (
            {"known_inputs": known_inputs, "known_outputs": known_outputs[1:]},
            r"known_outputs must be of shape \(2, 3\), not \(1, 3\)",
        ),
        (
            {"known_inputs": known_inputs + np.int16(128), "known_outputs": known_outputs},
            r"known_inputs must lie within -128 to 127, not 128 to 128",
        ),
        (
            {"known_inputs": known_inputs, "known_outputs": known_outputs - np.int16(129)},
            r"known_outputs must lie within -128 to 127, not -129 to -129",
        ),
        (
            {
                "layers": (small_layer(activation="relu"),),
                "known_inputs": known_inputs,
                "known_outputs": known_outputs - np.int16(1),
            },
            r"known_outputs must lie within 0 to 127, not -1 to -1",
        ),
    ],
)
def test_wrong_network(changes, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        small_network(**changes)


def test_too_many_nonzeros(monkeypatch):
    monkeypatch.setattr("golden.layers.network.MAX_NONZEROS", 7)
    second = matrix_layer(np.ones((1, 3), np.uint8), "fc2")
    assert small_network(layers=(small_layer(), second))
    third = matrix_layer(np.ones((1, 1), np.uint8), "fc3")
    message = r"^layer 'fc3': codes must bring the network's non-zeros to at most 7, not 8$"
    with pytest.raises(ImageError, match=message):
        small_network(layers=(small_layer(), second, third))


def test_shifts():
    first = small_layer(output_radix=7)
    second = matrix_layer(np.ones((2, 3), np.uint8), "fc2", weight_radix=5, output_radix=-1)
    two = small_network(layers=[first, second])
    assert two.shifts == (4 + 3 - 7, 7 + 5 - -1)
    assert (two.inputs, two.outputs) == (4, 2)
    assert isinstance(two.layers, tuple)


def pool(name, **fields):
    fields = {"output_radix": 4, "activation": "none", "kernel": (1, 1)} | fields
    return MaxPooling(name=name, **fields)


def add(name, **fields):
    return Addition(name=name, **{"output_radix": 4, "activation": "none"} | fields)


def join(name, **fields):
    return Concatenation(name=name, **{"output_radix": 4, "activation": "none"} | fields)


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        ([pool("a")], {"input_shape": ()}, r"input_shape must be 1 or 3 integers from 1 to 167772"),
        (
            [pool("a")],
            {"input_shape": (2, 2)},
            r"input_shape must be 1 or 3 integers .*, not \(2, ",
        ),
        (
            [pool("a")],
            {"input_shape": (4096, 4097, 1)},
            r"input_shape must make at most 16777216 activations, not 16781312",
        ),
        ([pool("a")], {"input_shape": (4,)}, r"layer 'a': sources must be a feature map \(height"),
        ([pool("a")], {"sources": ((0,), (1,))}, r"sources must be a list of 1, one for each laye"),
        ([pool("a")], {"sources": 7}, r"sources must be a list of 1, one for each layer"),
        (
            [pool("a")],
            {"sources": (0,)},
            r"layer 'a': sources must be 1 integer from 0 to 0, not 0",
        ),
        ([pool("a")], {"sources": ((1,),)}, r"layer 'a': sources must be 1 integer from 0 to 0, n"),
        ([add("a")], {}, r"layer 'a': sources must be 2 integers from 0 to 0, not \(0\)"),
        ([join("a")], {}, r"layer 'a': sources must be 2 to 64 integers from 0 to 0, not \(0\)"),
        (
            [pool("a"), pool("b"), pool("c")],
            {"sources": ((0,), (0,), (2,))},
            r"layer 'a': must be among the sources of a layer behind it",
        ),
        ([pool("a"), pool("a")], {}, r"layer 'a': name must differ from that of other layers"),
        (
            [pool("a", kernel=(1, 2)), add("b")],
            {"sources": ((0,), (0, 1))},
            r"layer 'b': sources must be of one shape, not \(2, 3, 4\) and \(2, 2, 4\)",
        ),
        (
            [pool("a", kernel=(1, 2)), join("b")],
            {"sources": ((0,), (0, 1))},
            r"layer 'b': sources must be of one shape but for the channels, not \(2, 3, 4\) and ",
        ),
        (
            [pool("a", output_radix=3), join("b")],
            {"sources": ((0,), (0, 1))},
            r"layer 'b': sources must have one radix point, not 4 and 3 fraction bits",
        ),
        (
            [pool("a", output_radix=-16), pool("b", output_radix=-15), add("c")],
            {"sources": ((0,), (1,), (0, 2))},
            r"layer 'b': output_radix must make the shift 0 to 47, not -1",
        ),
        ([pool("a", output_radix=5)], {}, r"layer 'a': output_radix must make the shift 0 to 47, "),
    ],
)
def test_wrong_graph(layers, changes, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        small_network(**{"layers": layers, "input_shape": (2, 3, 4)} | changes)


def test_radix_points_that_are_too_far_apart():
    layers = [pool("a", output_radix=-16), add("b", output_radix=0)]
    wide = {"activation_width": 16, "input_radix": 15, "input_shape": (1, 1, 2)}
    assert small_network(layers=layers, sources=((0,), (0, 1)), **wide).accumulator_bits == (16, 48)
    layers[0] = matrix_layer(np.ones((2, 2), np.uint8), "a", output_radix=-16)
    layers.insert(1, matrix_layer(np.ones((2, 2), np.uint8), "c", weight_radix=31, output_radix=16))
    layers[2] = add("b", output_radix=0)
    message = r"^layer 'b': sources must have radix points at most 31 apart, not 32$"
    with pytest.raises(ImageError, match=message):
        small_network(layers=layers, sources=((0,), (0,), (1, 2)), input_radix=7)


def test_too_many_activations(monkeypatch):
    layers = [pool(str(k)) for k in range(3)]
    monkeypatch.setattr("golden.layers.network.MAX_ACTIVATIONS", 72)
    assert small_network(layers=layers, input_shape=(2, 3, 4)).activations == 96
    monkeypatch.setattr("golden.layers.network.MAX_ACTIVATIONS", 71)
    message = r"^layer '2': outputs must bring the network's activations to at most 71, not 72$"
    with pytest.raises(ImageError, match=message):
        small_network(layers=layers, input_shape=(2, 3, 4))


def test_too_large_a_tensor():
    wide = matrix_layer(np.zeros((2**20, 1), np.uint8), output_radix=4)
    joined = join("join")
    message = r"^layer 'join': outputs must be at most 16777216 activations, not 17825792$"
    assert small_network(layers=(wide, joined), sources=((0,), (1,) * 16)).outputs == 2**24
    with pytest.raises(ImageError, match=message):
        small_network(layers=(wide, joined), sources=((0,), (1,) * 17))


def test_shapes_and_radix_points_of_a_graph():
    network = small_graph()
    maps = [(4, 4, 2), (4, 4, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 4), (3,)]
    assert network.shapes == tuple(maps)
    assert network.radixes == (4,) * 7
    assert network.shifts == (3, 0, 2, 0, 0, 3)
    assert network.accumulator_bits[1:5] == (8, 11, 9, 8)
    assert (network.inputs, network.outputs) == (32, 3)
    chain = small_network()
    assert (chain.input_shape, chain.sources) == ((4,), ((0,),))


@given(graphs())
def test_rest_of_a_graph_stays_when_layers_change(network):
    same = dataclasses.replace(network, layers=list(network.layers))
    assert (same.sources, same.input_shape) == (network.sources, network.input_shape)
    assert all(all(k <= index for k in own) for index, own in enumerate(network.sources))
