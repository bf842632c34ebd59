import numpy as np
import pytest
from hypothesis import given

from golden.errors import ImageError
from golden.layers import Layer
from tests.golden.strategies import matrix_layer, networks, small_layer, small_network, uint8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, r"layer '': name must be 1 to 128 printable characters, not ''"),
        ({"name": "x" * 129}, r"layer 'x+\.\.\.: name must be 1 to 128 printable characters, not"),
        ({"name": "a\nb"}, r"layer 'a\\nb': name must be 1 to 128 printable characters, not 'a\\n"),
        ({"name": 5}, r"layer 5: name must be 1 to 128 printable characters, not 5"),
        ({"code_width": 1}, r"layer 'fc': code_width must be an integer from 2 to 8, not 1"),
        ({"code_width": 9}, r"layer 'fc': code_width must be an integer from 2 to 8, not 9"),
        ({"code_width": True}, r"layer 'fc': code_width must be an integer from 2 to 8, not True"),
        ({"code_width": 2.0}, r"layer 'fc': code_width must be an integer from 2 to 8, not 2\.0"),
        (
            {"weight_radix": True},
            r"layer 'fc': weight_radix must be an integer from 0 to 31, not Tr",
        ),
        ({"weight_radix": -1}, r"layer 'fc': weight_radix must be an integer from 0 to 31, not -1"),
        ({"weight_radix": 32}, r"layer 'fc': weight_radix must be an integer from 0 to 31, not 32"),
        ({"output_radix": 32}, r"layer 'fc': output_radix must be an integer from -16 to 31, not "),
        ({"activation": "Relu"}, r"layer 'fc': activation must be one of \('none', 'relu'\), not "),
        ({"bias": [1, 2, 3]}, r"layer 'fc': bias must be a vector of int32"),
        ({"bias": np.zeros(3, np.int64)}, r"layer 'fc': bias must be a vector of int32"),
        ({"bias": np.zeros((3, 1), np.int32)}, r"layer 'fc': bias must be a vector of int32"),
        ({"bias": np.zeros(0, np.int32)}, r"layer 'fc': bias must have 1 to 1048576 elements, no"),
        ({"bias": np.zeros(2**20 + 1, np.int32)}, r"layer 'fc': bias must have 1 to 1048576 elem"),
        ({"bias": np.zeros(2, np.int32)}, r"layer 'fc': rows must lie within 0 to 1, not 0 to 2"),
        ({"rows": np.array([0, 2, 1], np.int32)}, r"layer 'fc': rows must have 4 elements, not 3"),
        ({"rows": np.array([0, 2, 1, 3], np.int32)}, r"layer 'fc': rows must lie within 0 to 2, n"),
        ({"rows": np.array([-1, 2, 1, 2], np.int32)}, r"layer 'fc': rows must lie within 0 to 2,"),
        ({"rows": np.array([2, 0, 1, 2], np.int32)}, r"layer 'fc': rows must ascend within each c"),
        ({"rows": np.array([2, 2, 1, 2], np.int32)}, r"layer 'fc': rows must ascend within each c"),
        ({"rows": np.zeros(4, np.int64)}, r"layer 'fc': rows must be a vector of int32"),
        ({"codes": uint8(1, 3, 2, 4)}, r"layer 'fc': codes must lie within 1 to 3, not 1 to 4"),
        ({"codes": uint8(1, 3, 2, 0)}, r"layer 'fc': codes must lie within 1 to 3, not 0 to 3"),
        ({"codes": np.zeros(4, np.int8)}, r"layer 'fc': codes must be a vector of uint8"),
        ({"codebook": np.zeros(3, np.int16)}, r"layer 'fc': codebook must have 4 elements, not 3"),
        ({"codebook": np.ones(4, np.int16)}, r"layer 'fc': codebook must start with 0, not 1"),
        ({"codebook": np.zeros(4)}, r"layer 'fc': codebook must be a vector of int16"),
        ({"column_starts": np.array([0])}, r"layer 'fc': column_starts must have 2 to 1048577 el"),
        (
            {"column_starts": np.array([0, 2, 2, 3, 4], np.int32)},
            r"layer 'fc': column_starts must be a vector of int64",
        ),
        *(
            (
                {"column_starts": np.array(starts)},
                r"layer 'fc': column_starts must ascend from 0 to the 4 non-zeros",
            )
            for starts in ([1, 2, 2, 3, 4], [0, 2, 2, 3, 3], [0, 3, 2, 3, 4], [0, 2, 2, 3, 5])
        ),
    ],
)
def test_wrong_layer(changes, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        small_layer(**changes)


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
            r"layer 'fc2': inputs must be 3, as many as the layer before puts out, not 4",
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
    monkeypatch.setattr("golden.layers.MAX_NONZEROS", 7)
    second = matrix_layer(np.ones((1, 3), np.uint8), "fc2")
    assert small_network(layers=(small_layer(), second))
    third = matrix_layer(np.ones((1, 1), np.uint8), "fc3")
    message = r"^layer 'fc3': codes must bring the network's non-zeros to at most 7, not 8$"
    with pytest.raises(ImageError, match=message):
        small_network(layers=(small_layer(), second, third))


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 2)), np.zeros(3, np.uint8), np.zeros((2, 3), np.uint8)]
)
def test_from_matrix_wrong(matrix):
    fields = vars(small_layer())
    fields = {k: v for k, v in fields.items() if k not in ("codes", "rows", "column_starts")}
    with pytest.raises(ImageError, match=r"^layer 'fc': matrix must be of dtype uint8 and sh"):
        Layer.from_matrix(matrix=matrix, **fields)


@given(networks())
def test_views_of_a_layer(network):
    for one in network.layers:
        dense = [[0] * one.inputs for _ in range(one.outputs)]
        columns = []
        for column in range(one.inputs):
            for k in range(one.column_starts[column], one.column_starts[column + 1]):
                dense[one.rows[k]][column] = int(one.codebook[one.codes[k]])
                columns.append(column)
        assert one.dense().dtype == np.int16
        assert one.dense().tolist() == dense
        middle = one.inputs // 2
        assert one.dense(middle).tolist() == [row[middle:] for row in dense]
        assert one.dense(1, middle + 1).tolist() == [row[1 : middle + 1] for row in dense]
        assert one.columns.tolist() == columns
        assert one.shape == (len(dense), len(dense[0]))
        assert one.density == one.nonzeros / (one.outputs * one.inputs)
        for width in 8, 16:
            bound = max(
                abs(int(bias)) + sum(abs(weight) for weight in row) * 2 ** (width - 1)
                for bias, row in zip(one.bias, dense, strict=True)
            )
            bits = one.accumulator_bits(width)
            assert -(2 ** (bits - 1)) <= -bound <= bound < 2 ** (bits - 1)
            assert bits == 1 or bound >= 2 ** (bits - 2)


def test_accumulator_bits_at_the_extremes():
    codes = np.full((1, 2**16), 1, np.uint8)
    one = matrix_layer(codes, codebook=np.array([0, -32768, 0, 0], np.int16), bias=-(2**31))
    # 2**16 * 2**15 * 2**15 + 2**31
    assert one.accumulator_bits(16) == 48
    assert one.accumulator_bits(8) == 40
    assert matrix_layer(codes * 0).accumulator_bits(16) == 1


def test_shifts():
    first = small_layer(output_radix=7)
    second = matrix_layer(np.ones((2, 3), np.uint8), "fc2", weight_radix=5, output_radix=-1)
    two = small_network(layers=[first, second])
    assert two.shifts == (4 + 3 - 7, 7 + 5 - -1)
    assert (two.inputs, two.outputs) == (4, 2)
    assert isinstance(two.layers, tuple)


def test_numpy_integers_become_plain():
    one = small_layer(code_width=np.int64(2), weight_radix=np.uint8(3))
    assert type(one.code_width) is type(one.weight_radix) is int
