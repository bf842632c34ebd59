import json

import numpy as np

from golden.image import digest, save
from golden.nets.random import random_network


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
