"""The bench of patterns: its recipes, how it judges evenness, and its table."""

import numpy as np
import pytest

from bench import patterns
from golden.compress.recipe import load_recipe
from golden.nets.random import random_network
from hdl.configuration import Configuration
from mapping import plan


@pytest.mark.parametrize("name", patterns.SETTINGS)
def test_recipes(name):
    """They are good ones, for densities that differ no more than N:M have to."""
    base = load_recipe(patterns.SETTINGS[name][0])
    free, balanced, n_of_m = patterns.patterns(base, 16).values()
    assert free == base
    assert balanced.prune.densities == base.prune.densities
    assert balanced.prune.elements == 16
    for layer, density in enumerate(base.prune.densities):
        n, m = n_of_m.prune.ratio(layer)
        assert n / m == pytest.approx(density, abs=1 / 40)


@pytest.mark.parametrize("ways", [1, 2])
def test_evenness_one_by_one(ways):
    network = random_network(np.random.default_rng(0), shape=(40, 30), density=0.3)
    device = Configuration(elements=8, scan_width=2, ways=ways)
    (layer,) = plan(network, device, activity=[1.0]).layers
    members = 8 // layer.teams
    matrix = layer.layer.dense() != 0
    mean, most = 0.0, 0
    for column in range(40):
        own = [0] * members
        for row in range(30):
            own[layer.owners(row)[0][0] % members] += int(matrix[row, column])
        mean += sum(own) / members
        most += max(own)
    assert patterns.evenness(layer) == pytest.approx(mean / most)


def test_table():
    row = {
        "pattern": "2:20",
        "accuracy": 0.985,
        "density": 0.1126,
        "bytes": 3154,
        "even": [0.5, 1.0],
        "ideal_cycles": 20.25,
        "cycles": 31.5,
    }
    text = patterns.table(
        {
            "dataset": "digits",
            "device": "pe4",
            "pictures": 400,
            "seconds": 9.6,
            "reference": {"accuracy": 0.98},
            "rows": [row],
        }
    )
    for part in ("98.50 %", "11.26 %", "3,154", "20.2", "31.5", "0.500 1.000", "98.00 %", "10 s"):
        assert part in text
