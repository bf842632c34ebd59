import json
import re
import resource

import numpy as np
import pytest
import torch

from golden.image import save
from golden.nets.random import random_network
from golden.network import run as golden_run


@pytest.fixture
def document(run, image):
    arguments = "simulate", image, "--device", "pe4", "--random", 20, "--clock", 25, "--json"
    return json.loads(run(*arguments).stdout)


def test_layers(document):
    assert [layer["name"] for layer in document["layers"]] == ["fc1", "fc2"]
    for layer in document["layers"]:
        assert {"name", "engine", "cycles", "ideal_cycles", "macs", "padding"} <= layer.keys()
        assert layer["engine"] == "sparse"
        assert layer["cycles"] == layer["predicted_cycles"]
        assert layer["ideal_cycles"] == layer["macs"] / 4
        assert 0 < layer["ideal_cycles"] < layer["cycles"]
    for key in "cycles", "ideal_cycles", "macs", "padding":
        assert document["total"][key] == sum(layer[key] for layer in document["layers"])


def test_tiles(run, tmp_path):
    """What is said of a layer is about all of its tiles."""
    path, device = tmp_path / "x.prunus", tmp_path / "device.toml"
    save(random_network(np.random.default_rng(0), shape=(20, 30, 40, 5), density=0.2), path)
    device.write_text("elements = 4\nrow_depth = 5\n")
    arguments = "simulate", path, "--device", device, "--random", 5, "--json"
    document = json.loads(run(*arguments).stdout)
    assert [layer["name"] for layer in document["layers"]] == ["fc1", "fc2", "fc3"]
    for layer in document["layers"]:
        assert 0 < layer["ideal_cycles"] < layer["cycles"] == layer["predicted_cycles"]
    assert document["equals_golden"] is True


def test_counters_agree_with_the_layers(document):
    elements = document["elements"]
    assert all(len(values) == 4 for values in elements.values())
    assert sum(elements["busy"]) == pytest.approx(20 * document["total"]["macs"])
    assert sum(elements["padding"]) == pytest.approx(20 * document["total"]["padding"])


def test_figures(document):
    assert document["simulation_cycles"] >= 2 * document["cycles_run"]
    speed = document["simulation_cycles"] / document["simulation_seconds"]
    assert document["cycles_per_second"] == speed
    assert document["cycles_per_vector"] == document["cycles_run"] / 20
    assert document["cycles_per_vector"] <= document["total"]["cycles"]
    assert document["clock_mhz"] == 25
    assert document["clock_is"] == "assumed"
    assert document["images_per_second"] == 25e6 / document["cycles_per_vector"]
    assert document["accuracy"] is None
    assert document["equals_golden"] is True


def test_outputs(run, image, network, tmp_path):
    vectors = np.random.default_rng(1).integers(-999, 999, (7, 24))
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, vectors)
    text = run("simulate", image, "--device", "pe4", "--input", x, "-o", y).stdout
    assert np.array_equal(np.load(y), golden_run(network, torch.from_numpy(vectors))[-1][1].numpy())
    assert "equal to the golden model's, bit by bit" in text
    assert "at 50 MHz (an assumed clock)" in text
    assert re.search(r"[\d,]+ cycles in [\d.]+ s, one at a time and back to back\n", text)
    assert f"wrote {y}\n" in text


def test_wrong_outputs(run, image, monkeypatch):
    """Hardware that gives one wrong bit in the fourth vector."""
    from sim.compiled import CompiledModel

    right = CompiledModel.run

    def wrong(self, *arguments, **options):
        run = right(self, *arguments, **options)
        run.outputs[3, 7] ^= 1
        return run

    monkeypatch.setattr(CompiledModel, "run", wrong)
    stderr = run("simulate", image, "--device", "pe4", code=1).stderr
    assert "1 of 16 outputs of the hardware are not those of the golden model" in stderr
    assert "the first is of vector 3" in stderr


def test_compiler_is_missing(start, image):
    process = start("simulate", image, "--device", "pe4", env={"PATH": ""})
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (3, "")
    assert stderr.endswith("install it: sudo apt-get install g++\n")


@pytest.mark.parametrize("clock", ["0", "nan", "inf", "1e308"])
def test_wrong_clock(run, image, clock):
    stderr = run("simulate", image, "--clock", clock, code=2).stderr
    assert "Invalid value for '--clock'" in stderr
    assert "is not in the range 0<x<=1000000.0." in stderr


def test_targets_are_files_of_their_own(run, image, tmp_path):
    x = tmp_path / "x"
    for first, second in ("x.vcd", "x.vcd"), ("x.vcd", "x.gtkw"), ("x.gtkw", "y.npy"):
        targets = "--waves", tmp_path / first, "-o", tmp_path / second
        assert "it is another output as well" in run("simulate", image, *targets, code=2).stderr
    device = tmp_path / "device.toml"
    device.write_text("elements = 4")
    for option in "-o", "--waves":
        stderr = run("simulate", image, "--device", device, option, device, code=2).stderr
        assert "it is an input as well" in stderr
    assert device.read_text() == "elements = 4"
    for folder in ".", "/", "":
        assert "is a folder" in run("simulate", image, "--waves", folder, code=2).stderr
    x.with_suffix(".gtkw").mkdir()
    stderr = run("simulate", image, "--waves", x.with_suffix(".vcd"), code=2).stderr
    assert "x.gtkw: is a folder" in stderr


def test_trace_on_a_full_disk(start, run, image, tmp_path):
    arguments = "simulate", image, "--device", "pe1", "--random", 1, "--waves", tmp_path / "x.vcd"
    run(*arguments)  # from now on, it is built
    assert {path.name for path in tmp_path.iterdir()} == {"x.vcd", "x.gtkw"}
    for path in tmp_path.iterdir():
        path.unlink()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(*arguments, preexec_fn=limit)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.endswith("x.vcd: the file would be larger than is allowed\n")
    assert list(tmp_path.iterdir()) == []


def test_hardware_that_does_not_answer(run, image, monkeypatch):
    monkeypatch.setattr("sim.compiled._patience", lambda configuration: 1)
    stderr = run("simulate", image, "--device", "pe4", code=5).stderr
    assert stderr.startswith("prunus: the accelerator ")
