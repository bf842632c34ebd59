import importlib.util
import json

import pytest

from cli import doctor
from golden.errors import DataError
from golden.nets import data
from sim import toolchain


def test_all_is_there(run):
    result = run("doctor", "--json")
    document = json.loads(result.stdout)
    assert document["complete"] is True
    for finding in document["found"]:
        assert finding["path"]
        assert finding["purpose"]
        if finding["kind"] != "data set":
            assert finding["version"]
    names = {finding["name"] for finding in document["found"]}
    assert {"python", "torch", "numpy", "verilator", "g++", "digits"} <= names


def test_text(run):
    text = run("doctor").stdout
    assert "All verbs have what they need." in text


def test_missing_package(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else find(name)
    )
    result = run("doctor", "--json", code=3)
    document = json.loads(result.stdout)
    torch = next(x for x in document["missing"] if x["name"] == "torch")
    assert torch["install"] == "pip install 'prunus[train]'"
    assert "simulate" in torch["verbs"]
    assert document["complete"] is False
    assert result.stderr == "prunus: missing: torch\n"


def test_missing_program(run, monkeypatch):
    found = [tool for tool in toolchain.tools() if tool.name != "g++"]
    missing = toolchain.Tool("g++", None, None, "compiles", "sudo apt-get install g++")
    monkeypatch.setattr("sim.toolchain.tools", lambda: [*found, missing])
    result = run("doctor", code=3)
    assert "sudo apt-get install g++" in result.stdout
    assert "demo, simulate, compare" in result.stdout
    assert result.stderr == "prunus: missing: g++\n"


def test_missing_program_that_no_verb_needs(run, monkeypatch):
    missing = toolchain.Tool("iverilog", None, None, "benches", "sudo apt-get install iverilog")
    monkeypatch.setattr("sim.toolchain.tools", lambda: [missing])
    assert "sudo apt-get install iverilog" in run("doctor").stdout


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("layout", ["own", "shared", "fashion-mnist", "empty"])
def test_finds_data_sets_where_golden_does(tmp_path, monkeypatch, layout, zipped):
    root = tmp_path / (layout if layout == "fashion-mnist" else "data")
    folder = root / "mnist" if layout == "own" else root
    folder.mkdir(parents=True)
    if layout != "empty":
        for part in "train", "t10k":
            name = f"{part}-images-idx3-ubyte{'.gz' if zipped else ''}"
            (folder / name).write_bytes(b"")
    monkeypatch.setenv("PRUNUS_DATA", str(root))
    for finding in doctor.datasets():
        if finding.name == "digits":
            assert finding.path is not None
            continue
        try:
            assert str(data._folder(finding.name)) == finding.path
        except DataError:
            assert finding.path is None
