"""The faults that are made, what becomes of a few of them, and how they are counted."""

import ast
import dataclasses
import difflib
import json
import sys
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from bench import mutants
from bench.mutants import CHECKS, OUTCOMES, Sandbox, Verdict
from bench.mutation import Mutant, mutants_of
from golden.errors import PrunusError
from sim import toolchain
from sim.units import BENCHES

SMALL = '''\
"""A unit with 3 inputs."""
from amaranth import *

__all__ = ["Unit"]


class Unit(wiring.Component):
    WIDTH = 2

    def __init__(self, depth):
        if depth < 4:
            raise ValueError(f"depth must be at least {4}")
        super().__init__({"i": In(1), "level": Out(range(depth + 2))})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.go):
            m.d.sync += [self.o.valid.eq(a & ~b), place[self.hold].eq(Mux(a, b, c))]
        for n in range(1):
            m.d.comb += self.x.eq((a + b).any() == c)
        wiring.connect(m, a, b)
        tag = data.StructLayout({"flag": 1})
        return m
'''

EXPECTED = """\
constant: WIDTH = 2  ->  WIDTH = 1
constant: WIDTH = 2  ->  WIDTH = 3
operator: 'level': Out(range(depth + 2))  ->  'level': Out(range(depth - 2))
constant: 'level': Out(range(depth + 2))  ->  'level': Out(range(depth + 1))
condition: m.If(self.go)  ->  m.If(Const(1))
condition: m.If(self.go)  ->  m.If(Const(0))
handshake: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(Const(1))
handshake: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(Const(0))
operator: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(a | ~b)
operand: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(a)
operand: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(~b)
operator: self.o.valid.eq(a & ~b)  ->  self.o.valid.eq(a & b)
statement: place[self.hold].eq(Mux(a, b, c))  ->  nothing
handshake: place[self.hold].eq(Mux(a, b, c))  ->  place[Const(1)].eq(Mux(a, b, c))
handshake: place[self.hold].eq(Mux(a, b, c))  ->  place[Const(0)].eq(Mux(a, b, c))
condition: place[self.hold].eq(Mux(a, b, c))  ->  place[self.hold].eq(b)
condition: place[self.hold].eq(Mux(a, b, c))  ->  place[self.hold].eq(c)
constant: for n in range(1)  ->  for n in range(0)
constant: for n in range(1)  ->  for n in range(2)
statement: self.x.eq((a + b).any() == c)  ->  nothing
comparison: self.x.eq((a + b).any() == c)  ->  self.x.eq((a + b).any() != c)
operator: self.x.eq((a + b).any() == c)  ->  self.x.eq((a + b).all() == c)
operator: self.x.eq((a + b).any() == c)  ->  self.x.eq((a - b).any() == c)
statement: wiring.connect(m, a, b)  ->  nothing"""


def test_faults_of_a_small_source():
    """Neither texts nor checks of parameters have any, nor single bits of a shape."""
    found = mutants_of("unit", SMALL)
    changes = [f"{one.kind}: {one.before}  ->  {one.after or 'nothing'}" for one in found]
    assert "\n".join(changes) == EXPECTED
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert found[0].function == "Unit"
    assert {one.function for one in found[4:]} == {"Unit.elaborate"}
    assert str(found[4]) == "unit:5 (condition, line 17) m.If(self.go)  ->  m.If(Const(1))"


def test_a_mutant_has_one_fault():
    """Where a source differs is a line, or two if a statement is not there any more."""
    original = ast.unparse(ast.parse(SMALL)).splitlines()
    for mutant in mutants_of("unit", SMALL):
        lines = list(difflib.unified_diff(original, mutant.source.splitlines(), n=0))[3:]
        assert 1 <= len(lines) <= 2, lines
        ast.parse(mutant.source)


@pytest.fixture(scope="module")
def real():
    return mutants.all_mutants(CHECKS)


def test_every_file_has_its_checks(real):
    paths = [path for one in mutants.FOLDERS for path in (mutants.ROOT / one).glob("*.py")]
    files = [path.stem for path in paths if path.stem != "__init__"]
    assert sorted(CHECKS) == sorted(files)
    assert set(files) == {one.unit for one in real}
    for check in set(sum(CHECKS.values(), ())):
        if check.startswith("tests/"):
            file, _, test = check.partition("::")
            assert f"def {test}" in (mutants.ROOT / file).read_text()
        else:
            bench, _, unit = check.partition(":")
            assert not unit or unit in BENCHES[bench]
            assert (mutants.ROOT / f"sim/bench_{bench}.py").is_file()


def test_explanations_are_of_mutants(real):
    why = mutants.explanations()
    assert set(why) <= {one.key for one in real}
    assert all(text.endswith(".") for text in why.values())


def test_sample_is_repeatable():
    every = mutants_of("unit", SMALL)
    first = mutants.choose(every, only=None, sample=7, seed=1)
    assert first == mutants.choose(every, only=None, sample=7, seed=1)
    assert first != mutants.choose(every, only=None, sample=7, seed=2)
    assert [one.number for one in first] == sorted({one.number for one in first})
    assert len(first) == 7
    assert mutants.choose(every, only=None, sample=1000, seed=1) == every
    assert mutants.choose(every, only="unit:3,unit:2", sample=1, seed=1) == [every[2], every[1]]
    with pytest.raises(ValueError, match="--only must be of those"):
        mutants.choose(every, only="unit:0", sample=None, seed=1)


def verdicts(*outcomes):
    """Verdicts of these on the mutants of two files in turn."""
    every = mutants_of("small", SMALL), mutants_of("other", SMALL)
    return [
        Verdict(every[n % 2][n // 2], outcome, "bench" if outcome != "survived" else "", 1.0)
        for n, outcome in enumerate(outcomes)
    ]


def test_rates():
    found = verdicts("killed", "survived", "timed out", "stillborn", "survived", "killed")
    why = {found[4].mutant.key: "Harmless.", found[0].mutant.key: "Wrong."}
    document = json.loads(
        json.dumps(mutants.document(found, why, all=48, sampled=6, seed=1, seconds=2.0))
    )
    small, other, total = document["units"].values()
    assert small["rate"] == pytest.approx(2 / 3)
    assert other["rate"] == 0.5
    assert total["rate"] == 0.6
    assert [total[name] for name in ("mutants", *OUTCOMES)] == [6, 1, 2, 1, 2]
    assert [small["explained"], other["explained"]] == [1, 0]
    assert [small["unexplained"], other["unexplained"]] == [0, 1]
    assert total["found_by"] == {"bench": 3}
    assert [one["why"] for one in document["survivors"]] == [None, "Harmless."]
    assert document["killed_though_explained"] == [str(found[0].mutant)]
    text = mutants.table(document)
    assert "60.0 %" in text
    assert f"not explained: other:{found[1].mutant.number}" in text
    assert text.count("not explained") == 1
    none = mutants.document(verdicts("stillborn"), {}, all=1, sampled=1, seed=1, seconds=0.0)
    assert none["units"]["all"]["rate"] is None
    assert mutants.table(none).splitlines()[-1].endswith("|       -")


@pytest.mark.parametrize(
    ("survivors", "explained", "status"), [(1, True, 0), (1, False, 1), (2, True, 1), (0, True, 0)]
)
def test_status(monkeypatch, capsys, survivors, explained, status):
    """It fails below 95 %, and if any survivor is not explained."""
    found = verdicts(*["survived"] * survivors, *["killed"] * (20 - survivors))
    monkeypatch.setattr(mutants, "judge_all", lambda chosen, **options: found)
    why = {one.mutant.key: "Harmless." for one in found if one.outcome == "survived"}
    monkeypatch.setattr(mutants, "explanations", lambda: why if explained else {})
    monkeypatch.setattr(sys, "argv", ["mutants", "--unit", "queue", "--json"])
    if status:
        with pytest.raises(SystemExit) as end:
            mutants.main()
        assert end.value.code == status
    else:
        mutants.main()
    assert json.loads(capsys.readouterr().out)["units"]["all"]["survived"] == survivors


needs_icarus = pytest.mark.skipif(
    toolchain.find("iverilog").path is None, reason="needs iverilog: sudo apt-get install iverilog"
)


@needs_icarus
def test_mutants_of_the_smallest_unit():
    """Each of the outcomes, none of which touches the source."""
    source = mutants.ROOT / mutants.source_of("queue")
    text = source.read_text()
    killed = next(one for one in mutants_of("queue", text) if one.kind == "comparison")
    cases = {
        "stillborn": "no Python",
        "killed": killed.source,
        "survived": text.replace("level >=", "level + 0 >="),
    }
    checks = ("segment_queue",)
    with Sandbox(1) as sandbox:
        root = sandbox.root
        copy = root / mutants.source_of("queue")
        # One of the units, and one of the tests.
        units, bench = root / "sim" / "units.py", root / "sim" / "bench_segment_queue.py"
        units.write_text(units.read_text().replace("in (7, 8, 32)", "in (7,)"))
        bench.write_text(
            bench.read_text().replace(
                "share=[1.0, 0.5], o_stall=[0.0, 0.5, 0.95]", "share=[1.0], o_stall=[0.5]"
            )
        )
        for outcome, code in cases.items():
            mutant = SimpleNamespace(unit="queue", source=code)
            assert sandbox.judge(mutant, checks).outcome == outcome
            assert copy.read_text() == text
        same = SimpleNamespace(unit="queue", source=text + "\n# The same.\n")
        assert sandbox.judge(same, checks) == Verdict(same, "stillborn", "", ANY)
        original = sandbox._originals["segment_queue"]
        sandbox._originals["segment_queue"] = dataclasses.replace(original, limit=0.01)
        assert sandbox.judge(killed, checks).outcome == "timed out"
        with pytest.raises(PrunusError, match="unknown fails without a fault"):
            sandbox.judge(killed, ("unknown",))
    assert not root.exists()
    assert source.read_text() == text


def test_interrupt_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = []

    def judge(self, mutant, checks):
        found.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(Sandbox, "judge", judge)
    mutant = Mutant("queue", 1, 1, "", "constant", "1", "2", "")
    with pytest.raises(KeyboardInterrupt):
        mutants.judge_all([mutant], seed=1, report=print)
    assert len(found) == 1
    assert not any(tmp_path.iterdir())
