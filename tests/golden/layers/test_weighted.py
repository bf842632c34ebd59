import numpy as np
import pytest
from hypothesis import given

from golden.errors import ImageError
from golden.layers import Convolution, FullyConnected
from tests.golden.strategies import matrix_layer, networks, small_layer, uint8


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


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 2)), np.zeros(3, np.uint8), np.zeros((2, 3), np.uint8)]
)
def test_from_matrix_wrong(matrix):
    fields = vars(small_layer())
    fields = {k: v for k, v in fields.items() if k not in ("codes", "rows", "column_starts")}
    with pytest.raises(ImageError, match=r"^layer 'fc': matrix must be of dtype uint8 and sh"):
        FullyConnected.from_matrix(matrix=matrix, **fields)


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


def test_numpy_integers_become_plain():
    one = small_layer(code_width=np.int64(2), weight_radix=np.uint8(3))
    assert type(one.code_width) is type(one.weight_radix) is int


def convolution(**changes):
    """A convolution in two groups, of a map of 4 channels and 6 outputs."""
    fields = {
        "matrix": np.ones((6, 12), np.uint8),
        "kernel": (2, 3),
        "groups": 2,
        "codebook": np.array([0, 5, -6, 7], np.int16),
        "code_width": 2,
        "weight_radix": 0,
        "bias": np.zeros(6, np.int32),
        "output_radix": 0,
        "activation": "none",
    }
    return Convolution.from_matrix("conv", **fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": 3}, r"kernel must be 2 integers from 1 to 1024, not 3"),
        ({"kernel": (2, 3, 1)}, r"kernel must be 2 integers from 1 to 1024, not \(2, 3, 1\)"),
        ({"kernel": (2, 3.0)}, r"kernel must be 2 integers from 1 to 1024, not \(2, 3\.0\)"),
        ({"kernel": (0, 3)}, r"kernel must be 2 integers from 1 to 1024, not \(0, 3\)"),
        ({"kernel": (1025, 3)}, r"kernel must be 2 integers from 1 to 1024, not \(1025, 3\)"),
        ({"kernel": [7] * 99}, r"kernel must be 2 integers .*, not \(7, 7, 7, 7, 7, \.\.\.\)"),
        ({"kernel": (5, 1)}, r"inputs must be a multiple of 5, the area of the kernel, not 12"),
        ({"stride": (1, 0)}, r"stride must be 2 integers from 1 to 1024, not \(1, 0\)"),
        ({"padding": (1, 1)}, r"padding must be 4 integers from 0 to 1023, not \(1, 1\)"),
        ({"padding": (0, 0, 0, 1024)}, r"padding must be 4 integers from 0 to 1023, not "),
        ({"groups": 0}, r"groups must be an integer from 1 to 1048576, not 0"),
        ({"groups": True}, r"groups must be an integer from 1 to 1048576, not True"),
        ({"groups": 4}, r"groups must divide the 6 outputs, which 4 does not"),
        ({"code_width": 1}, r"code_width must be an integer from 2 to 8, not 1"),
    ],
)
def test_wrong_convolution(changes, message):
    with pytest.raises(ImageError, match=f"^layer 'conv': {message}"):
        convolution(**changes)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        (
            {},
            (24,),
            r"sources must be a feature map \(height, width, channels\), not of shape \(24",
        ),
        ({}, (4, 4, 3), r"groups must divide the 3 channels of its source, which 2 does not"),
        (
            {},
            (4, 4, 6),
            r"inputs must be 18, as many activations as a window of its source has, not",
        ),
        (
            {},
            (1, 4, 4),
            r"kernel must fit its source of shape \(1, 4, 4\), padded, which \(2, 3\) doe",
        ),
        (
            {},
            (4, 2, 4),
            r"kernel must fit its source of shape \(4, 2, 4\), padded, which \(2, 3\) doe",
        ),
        (
            {"padding": (1023,) * 4},
            (4, 4096, 4),
            r"padding must leave at most 16777216 activations, not 50364400",
        ),
    ],
)
def test_convolution_of_what_does_not_fit(changes, shape, message):
    with pytest.raises(ImageError, match=f"^layer 'conv': {message}"):
        convolution(**changes).output_shape(shape)


def test_shape_of_a_convolution():
    assert convolution().channels == 4
    assert convolution().output_shape((2, 3, 4)) == (1, 1, 6)
    assert convolution(stride=(2, 3)).output_shape((7, 10, 4)) == (3, 3, 6)
    assert convolution(padding=(0, 1, 1, 0)).output_shape((1, 2, 4)) == (1, 1, 6)
    assert convolution(padding=[1, 2, 3, 4]).output_shape((7, 10, 4)) == (10, 14, 6)
    assert convolution(padding=[1, 2, 3, 4]).padding == (1, 2, 3, 4)


def test_bits_of_a_convolution_are_those_of_its_matrix():
    """Padding only leaves products out."""
    one = convolution(padding=(1, 1, 1, 1))
    assert one.accumulator_bits(8) == (12 * 5 * 128).bit_length() + 1
    assert one.accumulator_radix(3) == 3
