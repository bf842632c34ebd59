import json
import re

import pytest

from cli.verilog import memories
from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.verilog import convert
from sim import toolchain

DEVICE = "elements = 2\nscan_width = 2\nweight_depth = 64\nactivation_depth = 64\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    from click.testing import CliRunner

    from cli.main import prunus

    folder = tmp_path_factory.mktemp("verilog")
    (folder / "small.toml").write_text(DEVICE)
    target = folder / "small.v"
    arguments = ["verilog", "--device", str(folder / "small.toml"), "-o", str(target), "--json"]
    result = CliRunner().invoke(prunus, arguments)
    assert result.exit_code == 0, result.stderr
    return target, json.loads(result.stdout)


def test_parameters_on_top(written):
    target, document = written
    header = target.read_text().partition("\n\n")[0]
    device = Configuration(elements=2, scan_width=2, weight_depth=64, activation_depth=64)
    for name, value in vars(device).items():
        assert re.search(rf"^//   {name} +{value}$", header, re.MULTILINE)
        assert document["device"][name] == value


def test_description_beside_it(written):
    target, document = written
    assert json.loads(target.with_suffix(".json").read_text()) == document


def test_ports_are_those_of_the_module(written):
    target, document = written
    text = target.read_text()
    body = text[text.index("module prunus(") :].partition("endmodule")[0]
    found = {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in re.findall(
            r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE
        )
    }
    ports = {port["name"]: (port["direction"], port["width"]) for port in document["ports"]}
    assert ports == found
    assert all(port["meaning"] for port in document["ports"])


def test_memories(written):
    _, document = written
    found = {memory["name"]: memory for memory in document["memories"]}
    assert all(memory["meaning"] for memory in found.values())
    weights = found["element.fetch.memory"]
    # Two entries of 9 bits a word, 64 entries, two elements.
    assert (weights["width"], weights["depth"], weights["count"]) == (18, 32, 2)
    assert weights["bits"] == 18 * 32 * 2
    assert found["prunus.engine.drain.biases.words"]["count"] == 1
    assert found["element.accumulate.bank_0"]["width"] == 36


@pytest.mark.parametrize("reads", [0, 16])
def test_memories_of_a_device_for_convolutions(reads):
    c = Configuration(
        elements=4, scan_width=2, ways=2, map_depth=64, map_reads=reads, winograd_tile=2
    )
    found = memories(convert(Accelerator(c), name="prunus"), "prunus")
    assert not [memory["name"] for memory in found if not memory["meaning"]]
    assert any("convolve" in memory["name"] for memory in found)


def test_memories_are_counted_through_the_hierarchy():
    text = """
module leaf (a);
  reg [7:0] \\x$1  [15:0];
  reg flags [3:0];
endmodule
module \\top.middle (a);
  leaf  one (
  leaf  two (
endmodule
module top(a);
  \\top.middle  \\m$1  (
  \\top.middle  m (
  leaf  three (
  reg [7:0] no_memory;
endmodule
"""
    assert [
        (memory["name"], memory["width"], memory["depth"], memory["count"], memory["bits"])
        for memory in memories(text, "top")
    ] == [("leaf.x$1", 8, 16, 5, 640), ("leaf.flags", 1, 4, 5, 20)]


def test_passes_the_linter(written, tmp_path):
    target, _ = written
    verilator = toolchain.require("verilator").path
    command = [verilator, "--lint-only", "-Wall", "--top-module", "prunus", target]
    toolchain.run(
        [command],
        folder=tmp_path,
        log=tmp_path / "log",
        limit=100,
        environment=toolchain.verilator_environment(),
    )


def test_faults_of_a_device(run, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("elements = 0\ncode_width = 99\n")
    stderr = run("verilog", "--device", path, code=2).stderr
    assert "has 2 faults:" in stderr


def test_target_is_checked_first(run, tmp_path):
    for folder in tmp_path, ".", "/", "":
        assert "is a folder" in run("verilog", "-o", folder, code=2).stderr


@pytest.mark.parametrize("verb", ["verilog", "simulate"])
def test_yosys_fails(run, image, tmp_path, monkeypatch, verb):
    monkeypatch.setenv("PRUNUS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("hdl.verilog._PASSES", "no_such_pass {top}\n")
    target = tmp_path / "x.v"
    options = ["-o", target] if verb == "verilog" else [image]
    stderr = run(verb, *options, "--device", "pe1", code=3).stderr
    line = stderr.splitlines()[-1]
    assert line.startswith("prunus: Yosys failed: ERROR: No such command: no_such_pass")
    assert not target.exists()
