import json
import sys
import xml.etree.ElementTree as ET

import pytest

from golden.compress import recipe as recipes
from golden.image import load
from sim.compiled import CompiledModel
from tests.cli.conftest import RECIPE

CONVOLUTIONS = (
    RECIPE.replace("[64, 12, 10]", '["8x8", "max 2x2", "conv 3x3 4 same", "max 2x2", 10]')
    .replace("tiny", "tiny-cnn")
    .replace("learning_rate = 0.01\n", "learning_rate = 0.03\n")
)
# Where each is made, on which device, and how many activations it has for a picture.
NETWORKS = {
    "tiny": ("pe4", 12 + 10),
    "tiny_cnn": ("cnn16", 16 + 4 * 4 * 4 + 2 * 2 * 4 + 10),
}


@pytest.fixture
def tiny(monkeypatch):
    """A demo that is done in seconds, on devices that other tests have built."""
    texts = {"tiny": RECIPE, "tiny_cnn": CONVOLUTIONS}
    monkeypatch.setattr(
        recipes, "load_recipe", lambda name: recipes.parse_recipe(texts[name], origin=name)
    )
    devices = {name: device for name, (device, _) in NETWORKS.items()}
    monkeypatch.setattr("cli.demo._NETWORKS", devices)


def test_makes_everything(run, tiny, tmp_path, monkeypatch):
    folder = tmp_path / "made" / "demo"
    result = run("demo", "--output", folder)
    document = json.loads((folder / "demo.json").read_text())
    pictures = [
        f"{name}.{suffix}"
        for name in ("bytes", "accuracy", "cycles", "load")
        for suffix in ("png", "svg")
    ]
    names = []
    for network in NETWORKS:
        own = [f"{network}.prunus", "prunus.v", "prunus.json", *pictures]
        assert {path.name for path in (folder / network).iterdir()} == {*own, "work"}
        names += [f"{network}/{name}" for name in own]
    names.append("demo.json")
    assert document["files"] == [str(folder / name) for name in names]
    assert {path.name for path in folder.iterdir()} == {*NETWORKS, "demo.json"}
    for name in names:
        assert (folder / name).stat().st_size > 500
        assert f"\n  {folder / name}\n" in result.stdout
        if name.endswith("png"):
            assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        elif name.endswith("svg"):
            assert ET.parse(folder / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    for (name, (device, activations)), found in zip(
        NETWORKS.items(), document["networks"], strict=True
    ):
        image = load(folder / name / f"{name}.prunus")
        assert image.name == found["compression"]["recipe"] == name.replace("_", "-")
        assert f"{image.name} on {device}\n" in result.stdout
        assert found["simulation"]["device"]["name"] == device
        assert found["simulation"]["inputs"]["vectors"] == 400
        assert found["activations_compared"] == 400 * activations
        assert found["simulation"]["accuracy"] == found["compression"]["accuracy"] > 0.5
    summary = result.stdout.partition("Summary\n")[2].splitlines()
    assert summary[0].split() == ["figure", "tiny", "tiny-cnn"]
    assert summary[5].split()[-2:] == ["400", "400"]

    # The same again gives the same files, byte for byte. Of Verilog, which takes longest, another
    # test says so.
    def write_verilog(device, configuration, target):
        return {"verilog": target, "description": target.with_suffix(".json")}

    monkeypatch.setattr("cli.demo.write_verilog", write_verilog)
    before = {name: (folder / name).read_bytes() for name in names}
    again = json.loads(run("demo", "--output", folder, "--json").stdout)
    assert again["files"] == document["files"]
    assert len(again["networks"]) == 2
    assert {name: (folder / name).read_bytes() for name in names} == before


@pytest.mark.parametrize("device", ["pe4", "cnn16"])
def test_one_wrong_activation(run, tiny, tmp_path, monkeypatch, device):
    """Hardware that has one wrong bit in the first layer of a network, but not in its outputs."""
    right = CompiledModel.run

    def wrong(self, *arguments, **options):
        run = right(self, *arguments, **options)
        if run.taps and bool(self.configuration.map_depth) == (device == "cnn16"):
            run.taps[0][3, 7] ^= 1
        return run

    monkeypatch.setattr(CompiledModel, "run", wrong)
    stderr = run("demo", "--output", tmp_path, code=1).stderr
    assert "prunus: first difference in layer " in stderr
    assert ", vector 3, " in stderr
    assert ("tiny_cnn, for cnn16\n" in stderr) == (device == "cnn16")
    assert not (tmp_path / "demo.json").exists()


def test_what_is_missing_is_said_before_the_training(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    stderr = run("demo", "--output", tmp_path / "demo", code=3).stderr
    assert stderr.startswith("prunus: g++ is missing")
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "cli.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    stderr = run("demo", "--output", tmp_path / "demo", code=3).stderr
    assert stderr.startswith("prunus: matplotlib is missing")
    assert not (tmp_path / "demo").exists()


def test_output_is_a_file(run, tmp_path):
    path = tmp_path / "x"
    path.write_text("")
    assert f"{path}: must be a folder" in run("demo", "--output", path, code=2).stderr
