"""A layer that is laid out has each weight once, wherever it is split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.nets.random import random_network
from hdl.configuration import Configuration
from mapping.layer import lay_out

DEVICES = [
    Configuration(elements=4, scan_width=2),
    Configuration(elements=8, scan_width=2, ways=2),
    Configuration(elements=8, scan_width=1, ways=4),
]


def weights_of(laid, configuration):
    """Codes by row and column, gathered from all elements, entry by entry."""
    matrix = np.zeros(laid.layer.shape, int)
    members = configuration.elements // laid.teams
    at = 0
    for element in range(configuration.elements):
        team, member = divmod(element, members)
        for own, entries in enumerate(laid.entries.counts[element]):
            block, lane = divmod(own, configuration.scan_width)
            column = (block * laid.teams + team) * configuration.scan_width + lane
            row = -1
            for value in laid.entries.values[at : at + entries].tolist():
                code, delta = value >> laid.delta_width, value % (1 << laid.delta_width)
                row += (delta + 1) << (0 if code else laid.delta_width)
                if code:
                    output = laid.outputs.tolist().index(row * members + member)
                    matrix[output, laid.inputs.tolist().index(column)] += code
            at += entries
    assert at == len(laid.entries.values)
    return matrix


@given(
    st.integers(0, 2**32),
    st.integers(1, 30),
    st.integers(1, 25),
    st.sampled_from(range(len(DEVICES))),
    st.booleans(),
)
def test_each_weight_once(seed, inputs, outputs, device, split):
    device = DEVICES[device]
    rng = np.random.default_rng(seed)
    (layer,) = random_network(rng, shape=(inputs, outputs), density=0.3).layers
    columns = -(-inputs // device.scan_width) * device.scan_width
    positions = rng.permutation(columns)[:inputs]
    laid = lay_out(layer, device, inputs=positions, columns=columns, split=split)
    codes = np.zeros(layer.shape, int)
    codes[layer.rows, layer.columns] = layer.codes
    assert np.array_equal(weights_of(laid, device), codes)
    assert laid.teams == (device.ways if split else 1)
    assert sum(laid.team_columns) == columns
    assert laid.positions == laid.rows * device.elements // laid.teams


@pytest.mark.parametrize("split", [False, True])
def test_owners_add_up_the_row(split):
    device = DEVICES[1]
    (layer,) = random_network(np.random.default_rng(0), shape=(12, 9), density=0.5).layers
    laid = lay_out(layer, device, inputs=np.arange(12), columns=12, split=split)
    for row in range(9):
        owners, local = laid.owners(row)
        assert len(owners) == laid.teams
        assert local < laid.rows
        members = device.elements // laid.teams
        assert {local * members + element % members for element in owners} == {laid.outputs[row]}
