import json
import sys
import xml.etree.ElementTree as ET

import pytest

from golden.compress import recipe as recipes
from golden.image import load


@pytest.fixture
def tiny(recipe, monkeypatch):
    """A demo that is done in seconds, on a device that other tests have built."""
    tiny = recipes.load_recipe(recipe)
    monkeypatch.setattr(recipes, "load_recipe", lambda name: tiny)
    monkeypatch.setattr("cli.demo._DEVICE", "pe4")


def test_makes_everything(run, tiny, tmp_path):
    folder = tmp_path / "made" / "demo"
    result = run("demo", "--output", folder)
    document = json.loads((folder / "demo.json").read_text())
    pictures = [
        f"{name}.{suffix}"
        for name in ("bytes", "accuracy", "cycles", "load")
        for suffix in ("png", "svg")
    ]
    names = ["digits.prunus", "prunus.v", "prunus.json", *pictures, "demo.json"]
    assert document["files"] == [str(folder / name) for name in names]
    assert {path.name for path in folder.iterdir()} == {*names, "work"}
    for name in names:
        assert (folder / name).stat().st_size > 500
        assert f"\n  {folder / name}\n" in result.stdout
    assert load(folder / "digits.prunus").name == "tiny"
    assert document["simulation"]["inputs"]["vectors"] == 400
    assert document["activations_compared"] == 400 * (12 + 10)
    assert document["simulation"]["accuracy"] == document["compression"]["accuracy"]
    assert "Summary" in result.stdout
    for name in pictures:
        if name.endswith("png"):
            assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        else:
            assert ET.parse(folder / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    # The same again gives the same files, byte for byte.
    before = {name: (folder / name).read_bytes() for name in names}
    again = json.loads(run("demo", "--output", folder, "--json").stdout)
    assert again["files"] == document["files"]
    assert {name: (folder / name).read_bytes() for name in names} == before


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
