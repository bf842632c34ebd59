import json

import numpy as np
import pytest

from golden.image import save
from golden.nets.random import random_network
from hdl.configuration import PRESETS
from mapping import plan

DEVICE = PRESETS["pe4"]


@pytest.fixture
def document(run, image):
    return json.loads(run("explain", image, "--device", "pe4", "--json").stdout)


def test_layers(document, network):
    laid = plan(network, DEVICE)
    assert document["fits"] is True
    for shown, layer in zip(document["layers"], laid.layers, strict=True):
        assert shown["name"] == layer.name
        assert shown["entries"] == len(layer.entries.values)
        assert shown["padding_entries"] == layer.padding
        assert sum(shown["entries_per_element"]) == shown["entries"]
        assert len(shown["entries_per_element"]) == 4
        most = max(shown["entries_per_element"])
        assert shown["balance"] == pytest.approx(shown["entries"] / 4 / most)
        assert shown["ideal_cycles"] == shown["macs"] / 4
        assert shown["ideal_cycles"] < shown["predicted_cycles"]
    assert document["layers"][0]["rows_per_element"] == {"least": 4, "most": 4}
    assert document["layers"][1]["rows_per_element"] == {"least": 2, "most": 3}
    total = sum(layer["predicted_cycles"] for layer in document["layers"])
    assert document["total"]["predicted_cycles"] == total


def test_memories_are_what_the_device_needs(run, tmp_path, image, document):
    """Every memory made as small as it is said to be used: the network fits, and no smaller."""
    blocked = ("column_depth", "bias_depth", "activation_depth")
    least = {"weight_depth": 8, "row_depth": 2, "codebook_depth": 4, "layer_depth": 2}
    exact = {}
    for memory in document["memories"]:
        unit = 4 if memory["parameter"] in blocked else 2 if "weight" in memory["parameter"] else 1
        assert memory["available"] == getattr(DEVICE, memory["parameter"])
        assert memory["share"] == memory["used"] / memory["available"]
        exact[memory["parameter"]] = max(
            -(-memory["used"] // unit) * unit, least.get(memory["parameter"], 1)
        )

    def explain(values, code):
        path = tmp_path / "exact.toml"
        path.write_text("".join(f"{k} = {v}\n" for k, v in {**values, "elements": 4}.items()))
        return run("explain", image, "--device", path, code=code)

    explain(exact, 0)
    # Fewer rows make a tile more, which is a line more of the program.
    rows = {**exact, "row_depth": exact["row_depth"] - 1}
    message = f"layer_depth must be at least {exact['layer_depth'] + 1}"
    assert message in explain(rows, 4).stderr
    for parameter, value in exact.items():
        if parameter == "row_depth":
            continue
        unit = 4 if parameter in blocked else 2 if parameter == "weight_depth" else 1
        if value - unit >= least.get(parameter, 1):
            assert f"{parameter} must be at least" in (
                explain({**exact, parameter: value - unit}, 4).stderr
            )


def test_text(run, image):
    text = run("explain", image, "--device", "pe4", "--random", 2).stdout
    for line in "Layers", "Memories", "Cycles per vector, one at a time":
        assert f"\n{line}\n" in text
    assert "\n2 vectors: random vectors, density 0.3, seed 1\n" in text


def test_tiles(run, tmp_path):
    path, device = tmp_path / "x.prunus", tmp_path / "device.toml"
    network = random_network(np.random.default_rng(0), shape=(40, 30, 50, 5), density=0.2)
    save(network, path)
    device.write_text("elements = 4\nrow_depth = 5\n")
    arguments = "explain", path, "--device", device
    document = json.loads(run(*arguments, "--json").stdout)
    assert [len(layer["tiles"]) for layer in document["layers"]] == [2, 3, 1]
    for layer, outputs in zip(document["layers"], (30, 50, 5), strict=True):
        assert sum(tile["entries"] for tile in layer["tiles"]) == layer["entries"]
        most = [tile["rows_per_element"]["most"] for tile in layer["tiles"]]
        least = [tile["rows_per_element"]["least"] for tile in layer["tiles"]]
        assert max(most) == -(-outputs // (4 * len(most)))
        assert 4 * sum(least) <= outputs <= 4 * sum(most)
        assert all(tile["balance"] > 0.7 for tile in layer["tiles"])
    lines = next(x for x in document["memories"] if x["parameter"] == "layer_depth")
    assert lines["used"] == 6
    text = run(*arguments).stdout
    rows = text.partition("\nTiles\n")[2].partition("\n\n")[0]
    assert [row.split()[:2] for row in rows.splitlines()[1:]][-5:] == [
        ["fc1", "0"],
        ["fc1", "1"],
        ["fc2", "0"],
        ["fc2", "1"],
        ["fc2", "2"],
    ]


def test_does_not_fit(run, tmp_path):
    path = tmp_path / "x.prunus"
    network = random_network(np.random.default_rng(0), shape=(1200, 700, 10), density=0.03)
    save(network, path)
    stderr = run("explain", path, "--device", "pe4", code=4).stderr
    assert (
        "network 'random' does not fit the device:\n"
        "  layer 'fc1', in 2 tiles: activation_depth must be at least 1200, not 1024\n"
    ) in stderr
    assert "\n  with a row_depth of 175, not 128, no layer would be in tiles\n" in stderr
    assert stderr.endswith("it fits pe16, pe32, pe64, cnn16, cnn64, cnn64-f2\n")
    error = json.loads(run("explain", path, "--device", "pe4", "--json", code=4).stdout)["error"]
    assert error["exit_code"] == 4


def test_fits_nowhere(run, tmp_path):
    path = tmp_path / "x.prunus"
    save(random_network(np.random.default_rng(0), shape=(140_000, 10), density=0.001), path)
    assert run("explain", path, code=4).stderr.endswith("it fits no preset\n")


def test_wrong_device(run, image):
    assert "device 'pe3' must be one of" in run("explain", image, "--device", "pe3", code=2).stderr
