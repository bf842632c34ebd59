import json

import numpy as np

from golden.image import Network, digest, save
from golden.layers import MaxPooling
from golden.nets.random import random_network
from tests.golden.strategies import small_graph


def test_json(run, image, network):
    document = json.loads(run("info", image, "--json").stdout)
    assert document["digest"] == digest(network)
    assert document["bytes"] == image.stat().st_size
    assert document["dense_bytes"] == 4 * (16 * 24 + 16 + 10 * 16 + 10)
    assert document["compression"] == document["dense_bytes"] / document["bytes"]
    assert [layer["name"] for layer in document["layers"]] == ["fc1", "fc2"]
    for shown, layer, shift in zip(document["layers"], network.layers, network.shifts, strict=True):
        assert (shown["outputs"], shown["inputs"]) == layer.shape
        assert shown["nonzeros"] == layer.nonzeros
        assert shown["density"] == layer.density
        assert shown["shift"] == shift
        assert shown["accumulator_bits"] == layer.accumulator_bits(16)


def test_ledger_sums_to_the_file(run, image):
    ledger = json.loads(run("info", image, "--json").stdout)["ledger"]
    layers = sum(sum(layer.values()) for layer in ledger["layers"].values())
    assert ledger["header"] + ledger["known_answers"] + layers == ledger["total"]
    assert ledger["total"] == image.stat().st_size


def test_graph(run, tmp_path):
    network = small_graph()
    path = tmp_path / "graph.prunus"
    save(network, path)
    document = json.loads(run("info", path, "--json").stdout)
    assert document["input_shape"] == [4, 4, 2]
    assert (document["inputs"], document["outputs"]) == (32, 3)
    assert document["dense_bytes"] == 4 * (2 * 18 + 2 + 3 * 16 + 3)
    for index, (shown, layer) in enumerate(zip(document["layers"], network.layers, strict=True)):
        assert (shown["name"], shown["kind"]) == (layer.name, layer.kind)
        assert tuple(shown["sources"]) == network.sources[index]
        assert tuple(shown["shape"]) == network.shapes[index + 1]
        assert shown["shift"] == network.shifts[index]
        assert shown["accumulator_bits"] == network.accumulator_bits[index]
        assert shown["density"] == getattr(layer, "density", None)
        assert shown["kernel"] == (list(layer.kernel) if hasattr(layer, "kernel") else None)
    text = run("info", path).stdout
    rows = [line.split() for line in text.splitlines()]
    assert ["add", "add", "max,", "average", "2x2x2", "4", "0", "9", "none"] in rows


def test_network_without_weights(run, tmp_path):
    path = tmp_path / "pool.prunus"
    pool = MaxPooling(name="pool", output_radix=4, activation="none", kernel=(2, 2))
    save(Network("pool", (pool,), 8, 4, input_shape=(2, 3, 1)), path)
    document = json.loads(run("info", path, "--json").stdout)
    assert document["ledger"]["layers"] == {}
    assert document["ledger"]["total"] == document["bytes"] == path.stat().st_size
    assert "pool" in run("info", path).stdout


def test_text(run, image, network):
    text = run("info", image).stdout
    assert digest(network) in text
    assert "fc1" in text
    assert f"{image.stat().st_size:,} bytes" in text


def test_text_has_all_of_a_wide_table(run, tmp_path):
    path = tmp_path / "x.prunus"
    network = random_network(np.random.default_rng(0), shape=(4,) * 40)
    save(network, path)
    text = run("info", path).stdout
    assert all(f"\n{layer.name} " in text for layer in network.layers)
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_wrong_file(run, tmp_path):
    path = tmp_path / "x.prunus"
    assert f"{path}: No such file" in run("info", path, code=2).stderr
    path.write_bytes(b"no image")
    assert run("info", path, code=2).stderr == f"prunus: {path}: is not a Prunus image\n"
    assert "must be a file" in run("info", tmp_path, code=2).stderr
