"""Entries are decoded by a plain-Python reader, which knows only their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.image import FullyConnected
from mapping.entries import encode
from mapping.rows import assign


def layer_of(matrix, code_width=4):
    matrix = np.asarray(matrix, np.uint8)
    codebook = np.arange(2**code_width, dtype=np.int16)
    return FullyConnected.from_matrix(
        "fc",
        matrix,
        codebook=codebook,
        code_width=code_width,
        weight_radix=0,
        bias=np.zeros(len(matrix), np.int32),
        output_radix=0,
        activation="none",
    )


def decode(entries, elements, columns, rows, delta_width):
    """Codes by position and column, entry by entry."""
    matrix = np.zeros((rows * elements, columns), int)
    at = 0
    for element in range(elements):
        for column in range(columns):
            row = -1
            for _ in range(entries.counts[element, column]):
                value = int(entries.values[at])
                delta, code = value % 2**delta_width, value >> delta_width
                assert entries.escapes[at] == (code == 0)
                row += (delta + 1) << (delta_width if code == 0 else 0)
                if code:
                    matrix[row * elements + element, column] = code
                at += 1
    assert at == len(entries.values)
    return matrix


def encoded(layer, elements, delta_width, columns=None):
    outputs = assign(layer, elements)
    columns = columns or layer.inputs
    inputs = np.random.default_rng(0).permutation(columns)[: layer.inputs]
    row, element = np.divmod(outputs[layer.rows], elements)
    entries = encode(
        layer,
        row=row,
        element=element,
        column=inputs[layer.columns],
        shape=(elements, columns),
        delta_width=delta_width,
    )
    return entries, outputs, inputs


@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([0, 0.02, 0.1, 0.5, 1]),
)
def test_decodes_to_the_matrix(seed, rows, columns, elements, delta_width, density):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(1, 16, (rows, columns)) * (rng.random((rows, columns)) < density)
    layer = layer_of(matrix)
    entries, outputs, inputs = encoded(layer, elements, delta_width, columns + 3)
    height = -(-rows // elements)
    decoded = decode(entries, elements, columns + 3, height, delta_width)
    assert np.array_equal(decoded[outputs][:, inputs], matrix)
    assert decoded.sum() == matrix.sum()


@pytest.mark.parametrize(
    ("gap", "escapes"), [(0, 0), (3, 0), (4, 1), (15, 1), (16, 1), (19, 1), (20, 2), (36, 3)]
)
def test_escapes_of_a_gap(gap, escapes):
    matrix = np.zeros((gap + 1, 1))
    matrix[gap] = 1
    entries, _, _ = encoded(layer_of(matrix), elements=1, delta_width=2)
    assert entries.escapes.tolist() == [True] * escapes + [False]


def test_no_more_than_one_escape_a_weight():
    # 2 * 4 bits reach across 256 rows.
    matrix = np.zeros((256, 64))
    matrix[np.random.default_rng(1).integers(0, 256, 64), np.arange(64)] = 3
    entries, _, _ = encoded(layer_of(matrix), elements=1, delta_width=4)
    assert entries.counts.max() <= 2
