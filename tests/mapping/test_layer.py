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
    Configuration(elements=4, scan_width=2, ways=2, row_depth=3),
]


def weights_of(laid, configuration):
    """Codes by row and column, gathered from all elements, entry by entry."""
    matrix = np.zeros(laid.layer.shape, int)
    members = configuration.elements // laid.teams
    at = 0
    for element in range(configuration.elements):
        team, member = divmod(element, members)
        for told, entries in enumerate(laid.entries.counts[element]):
            tile, own = divmod(told, laid.team_columns[0])
            block, lane = divmod(own, configuration.scan_width)
            column = (block * laid.teams + team) * configuration.scan_width + lane
            row = -1
            for value in laid.entries.values[at : at + entries].tolist():
                code, delta = value >> laid.delta_width, value % (1 << laid.delta_width)
                row += (delta + 1) << (0 if code else laid.delta_width)
                if code:
                    position = (tile * laid.rows + row) * members + member
                    output = laid.outputs.tolist().index(position)
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
    assert laid.positions == laid.tiles * laid.rows * device.elements // laid.teams
    # No more tiles than it takes, and no more rows.
    members = device.elements // laid.teams
    assert (laid.tiles - 1) * members * device.row_depth < outputs
    assert (laid.rows - 1) * members * laid.tiles < outputs
    assert laid.rows <= device.row_depth


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("device", [DEVICES[1], DEVICES[3]], ids=["whole", "tiles"])
def test_owners_add_up_the_row(device, split):
    (layer,) = random_network(np.random.default_rng(0), shape=(12, 9), density=0.5).layers
    laid = lay_out(layer, device, inputs=np.arange(12), columns=12, split=split)
    for row in range(9):
        owners, tile, local = laid.owners(row)
        assert len(owners) == laid.teams
        assert tile < laid.tiles
        assert local < laid.rows
        members = device.elements // laid.teams
        first = (tile * laid.rows + local) * members
        assert {first + element % members for element in owners} == {laid.outputs[row]}


def test_tiles_have_equal_work_and_so_do_their_elements():
    device = Configuration(elements=8, scan_width=2, ways=2, row_depth=10)
    (layer,) = random_network(np.random.default_rng(1), shape=(100, 300), density=0.1).layers
    for split, tiles in (False, 4), (True, 8):
        laid = lay_out(layer, device, inputs=np.arange(100), columns=100, split=split)
        assert laid.tiles == tiles
        totals = laid.tile_totals
        assert totals.shape == (tiles, 8)
        assert totals.sum() == len(laid.entries.values)
        assert (totals.sum(axis=0) == laid.entries.totals).all()
        assert totals.max() < 1.06 * totals.mean()
