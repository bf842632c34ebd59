import dataclasses
import json

import click
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.compare import Trace, difference, flipped
from cli.runs import Golden
from golden.image import save
from golden.layers import Convolution, Weighted
from golden.network import run as golden_run
from hdl.configuration import PRESETS
from mapping import plan
from tests.golden.strategies import graphs, small_graph

DEVICE = PRESETS["pe4"]


def test_equal(run, image):
    document = json.loads(run("compare", image, "--device", "pe4", "--json").stdout)
    assert document["equal"] is True
    assert document["first_difference"] is None
    assert document["comparisons"] == [
        {
            "machine": "rtl",
            "layers": [
                {"name": "fc1", "compared": 16 * 16, "different": 0},
                {"name": "fc2", "compared": 16 * 10, "different": 0},
            ],
        }
    ]
    assert "equal, bit by bit" in run("compare", image, "--device", "pe4").stdout


@pytest.mark.parametrize("layer", ["fc1", "fc2"])
def test_negative_control(run, image, layer):
    result = run("compare", image, "--device", "pe4", "--flip", layer, "--json", code=1)
    document = json.loads(result.stdout)
    found = document["first_difference"]
    assert document["equal"] is False
    assert found["layer"] == layer
    assert found["values"]["golden"] != found["values"]["rtl"]
    message = f"first difference in layer '{layer}', vector {found['vector']}, row {found['row']}"
    assert message in result.stderr
    assert f"processing element {found['elements'][0]})" in result.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_one_wrong_weight_in_the_device(run, image, network, monkeypatch, which):
    """A bit of a code of the plan is turned over on its way into the device, not in the image."""
    from sim.compiled import CompiledModel

    load = CompiledModel.load

    def tampered(self, laid):
        layers = list(laid.layers)
        entries = layers[which].entries
        values = entries.values.copy()
        values[0] ^= 1 << layers[which].delta_width
        wrong = dataclasses.replace(entries, values=values)
        layers[which] = dataclasses.replace(layers[which], entries=wrong)
        load(self, dataclasses.replace(laid, layers=tuple(layers)))

    monkeypatch.setattr(CompiledModel, "load", tampered)
    arguments = "compare", image, "--device", "pe4", "--density", 1, "--json"
    document = json.loads(run(*arguments, code=1).stdout)
    found = document["first_difference"]
    # The first entry of the plan belongs to element 0, and to its first row with a weight.
    assert found["layer"] == network.layers[which].name
    assert found["elements"] == [0]
    position = plan(network, DEVICE).layers[which].outputs[found["row"]]
    assert (position % 4, position // 4) == (0, found["element_row"])
    before = document["comparisons"][0]["layers"][:which]
    assert all(layer["different"] == 0 for layer in before)


@pytest.fixture
def right(network):
    vectors = torch.randint(-999, 999, (5, 24), generator=torch.Generator().manual_seed(0))
    return [outputs.numpy() for _, outputs in golden_run(network, vectors)]


def test_first_layer_then_vector_then_cycle(network, right):
    laid = plan(network, DEVICE)
    wrong = [layer.copy() for layer in right]
    cycles = [np.full(layer.shape, 100) for layer in right]
    wrong[1][0, 0] += 1
    for row, cycle in (2, 30), (9, 20), (11, 20):
        wrong[0][3, row] -= 1
        cycles[0][3, row] = cycle
    wrong[0][4, 1] += 1
    found = difference(network, laid, ("golden", Trace(right)), ("rtl", Trace(wrong, cycles)))
    assert (found.layer, found.vector, found.row, found.cycle) == ("fc1", 3, 9, 20)
    value = int(right[0][3, 9])
    assert found.values == {"golden": value, "rtl": value - 1}
    assert found.elements == [laid.layers[0].outputs[9] % 4]


def test_a_row_is_in_a_tile(network, right):
    """It is named if there are several."""
    wrong = [layer.copy() for layer in right]
    wrong[0][0, 9] += 1
    for rows, tiles in (3, 2), (4, 1):
        laid = plan(network, dataclasses.replace(DEVICE, row_depth=rows))
        assert laid.layers[0].tiles == tiles
        found = difference(network, laid, ("a", Trace(right)), ("b", Trace(wrong)))
        # Tiles are of two rows an element.
        tile, place = divmod(int(laid.layers[0].outputs[9]), 16 // tiles)
        assert (found.tile, found.element_row) == (tile if tiles > 1 else None, place // 4)
        assert (f", in tile {tile}): " in str(found)) == (tiles > 1)


def test_machines_without_a_clock(network, right):
    laid = plan(network, DEVICE)
    wrong = [layer.copy() for layer in right]
    assert difference(network, laid, ("a", Trace(right)), ("b", Trace(wrong))) is None
    wrong[1][2, 5] += 1
    found = difference(network, laid, ("a", Trace(right)), ("b", Trace(wrong)))
    assert (found.layer, found.vector, found.row, found.cycle) == ("fc2", 2, 5, None)
    assert "cycle" not in str(found)


@pytest.fixture
def graph(tmp_path):
    """A network of every kind of layer, which no device takes."""
    network = small_graph()
    path = tmp_path / "graph.prunus"
    save(network, path)
    return path, network


def test_networks_that_no_device_takes(run, graph):
    path, network = graph
    arguments = "compare", path, "--on", "golden,torch", "--density", 1
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["equal"] is True
    assert document["device"] is None
    (comparison,) = document["comparisons"]
    assert [layer["name"] for layer in comparison["layers"]] == [x.name for x in network.layers]
    assert comparison["layers"][0]["compared"] == 16 * 32
    assert "equal, bit by bit" in run(*arguments).stdout


def test_negative_control_without_a_device(run, graph):
    path, network = graph
    arguments = "compare", path, "--on", "torch,golden", "--density", 1, "--json", "--flip"
    for layer in network.layers:
        if not isinstance(layer, Weighted):
            stderr = run(*arguments, layer.name, code=2).stderr
            assert f"--flip must be one of conv, fc, not '{layer.name}'" in stderr
            continue
        result = run(*arguments, layer.name, code=1)
        found = json.loads(result.stdout)["first_difference"]
        assert (found["layer"], found["elements"]) == (layer.name, None)
        where = f"row {found['row']}"
        if isinstance(layer, Convolution):
            row, column = found["pixel"]
            where = f"pixel {row}, {column}, channel {found['row']}"
        message = f"first difference in layer '{layer.name}', vector {found['vector']}, {where}"
        assert f"{message}: torch has" in result.stderr


@given(graphs(), st.integers(0, 2**32))
@settings(max_examples=30)
def test_a_flipped_weight_matters(network, seed):
    high = 2 ** (network.activation_width - 1)
    vectors = np.random.default_rng(seed).integers(-high, high, (2, network.inputs))
    layers = [
        Golden(sums.numpy(), outputs.numpy())
        for sums, outputs in golden_run(network, torch.from_numpy(vectors))
    ]
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Weighted):
            continue
        try:
            wrong = flipped(network, layer.name, vectors, layers)
        except click.UsageError:
            continue
        assert (wrong.layers[index].codes != layer.codes).sum() == 1
        found = [outputs.numpy() for _, outputs in golden_run(wrong, torch.from_numpy(vectors))]
        same = [np.array_equal(x, y.outputs) for x, y in zip(found, layers, strict=True)]
        assert all(same[:index])
        assert not same[index]


def test_wrong_machines(run, image):
    stderr = run("compare", image, "--on", "golden,fpga", code=2).stderr
    assert "'fpga' is none of golden, torch, rtl." in stderr
    assert "at least two machines" in run("compare", image, "--on", "golden", code=2).stderr


def test_wrong_layer(run, image):
    stderr = run("compare", image, "--flip", "fc3", code=2).stderr
    assert "--flip must be one of fc1, fc2, not 'fc3'" in stderr


def test_no_weight_matters(run, image):
    stderr = run("compare", image, "--flip", "fc1", "--density", 0, code=2).stderr
    assert "no weight of layer 'fc1' matters to these vectors" in stderr


def test_a_machine_named_twice(run, image):
    stderr = run("compare", image, "--on", "golden,golden", code=2).stderr
    assert "each machine can be named once." in stderr
