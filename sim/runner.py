# amaranth: UnusedElaboratable=no
"""Runs a cocotb bench on a simulator."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from amaranth.hdl import Instance, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb_tools import config
from cocotb_tools.runner import get_runner

from hdl.verilog import convert
from sim import toolchain
from sim.cache import cached, digest
from sim.memory import MODULE
from sim.units import BENCHES, FAMILIES

__all__ = ["BOTH", "LARGE", "PROGRAMS", "run_bench", "verilog"]

PROGRAMS = {"icarus": "iverilog", "verilator": "verilator"}
"""Program of the toolchain that each simulator needs."""

BOTH = ("accelerator", "queue", "fetch", "decode", "accumulate")
"""Benches that are worth a run on each simulator; Icarus alone is quicker."""

LARGE = ("staged", "winograd")
"""Benches that only Verilator is quick enough for."""

_TOP = "units"
# Modules that units share. Those of different configurations are different, under one name.
_SHARED = re.compile(r"\b(element|winograd_kernel)\b")
_CELLS = Path(__file__).with_name("cells.v")
_OPTIONS = {
    "icarus": (),
    # The bench is what takes the time, so that the compiler should not. Split output would need
    # precompiled headers, for which the packaged Verilator was built without a flag.
    "verilator": (
        *("-Wno-fatal", "-Wno-lint", "-fno-dfg", "--output-split", "0"),
        *("-CFLAGS", "-O0"),
    ),
}


def run_bench(bench: str, simulator: str, folder: Path) -> None:
    """Run the module ``sim.bench_{bench}`` on the units that it is about.

    Parameters
    ----------
    bench : str
        A key of :data:`sim.units.BENCHES`.
    simulator : str
        A key of :data:`PROGRAMS`.
    folder : Path
        Where to leave what the run writes.

    Raises
    ------
    AssertionError
        If a test of the bench fails. The message names those that do.
    ToolError
        If the simulator is missing.
    """
    # A build for Verilator takes 20 s, however small, so that units share one.
    together = next((group for group in (BOTH, LARGE) if bench in group), None)
    shared = together or tuple(name for name in BENCHES if name not in LARGE)
    names = shared if simulator == "verilator" else (bench,)
    results = folder / "results.xml"
    environment = {
        # Without this, cocotb rewrites the assertions of every module, torch's included.
        "COCOTB_REWRITE_ASSERTION_FILES": "bench_*.py",
        "OMP_NUM_THREADS": "1",
    }
    try:
        get_runner(simulator).test(
            hdl_toplevel=_TOP,
            hdl_toplevel_lang="verilog",
            test_module=f"sim.bench_{bench}",
            build_dir=_build(names, simulator),
            test_dir=folder,
            results_xml=str(results.absolute()),
            extra_env=environment,
        )
    except SystemExit:
        # So it tells pytest about a failure, and elsewhere it does not tell at all.
        pass
    cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert cases, f"bench {bench} on {simulator} ended before its first test"
    assert not failed, f"bench {bench} on {simulator}: {len(failed)} of {len(cases)} fail: {failed}"


class _Together(wiring.Component):
    """Units side by side; the ports of each are under its name.

    Each has a clock of its own too, so that only the one that is tested takes time.
    """

    def __init__(self, units):
        super().__init__(
            {
                name: Out(wiring.Signature({**unit.signature.members, "clk": In(1), "rst": In(1)}))
                for name, unit in units.items()
            }
        )

    def elaborate(self, platform):
        m = Module()
        for name in self.signature.members:
            unit = getattr(self, name)
            ports = {}
            for path, member, value in unit.signature.flatten(unit):
                direction = "i" if member.flow == In else "o"
                ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
            m.submodules[name] = Instance(name, **ports)
        return m


@cache
def verilog(names: tuple[str, ...]) -> str:
    """What a simulator compiles for the benches ``names``: their units, and a module of all."""
    units = {name: make() for bench in names for name, make in BENCHES[bench].items()}
    # Units of different configurations have different elements, under one name.
    texts = [
        re.sub(_SHARED, f"{name}_\\1", convert(unit, name=name, family=_family(name)))
        for name, unit in units.items()
    ]
    cells = [_CELLS.read_text()] if any(map(_family, units)) else []
    if any("outside_words" in text for text in texts):
        cells.append(MODULE.read_text())
    return "\n".join([convert(_Together(units), name=_TOP), *texts, *cells])


def _family(name: str) -> str | None:
    """FPGA whose blocks the unit is made of."""
    return FAMILIES.get(name.rpartition("_")[2])


def _build(names: tuple[str, ...], simulator: str) -> Path:
    """Folder with the compiled units of the benches ``names``."""
    program = toolchain.require(PROGRAMS[simulator])
    environment = toolchain.verilator_environment() if simulator == "verilator" else {}
    text = verilog(names)
    options = _OPTIONS[simulator]

    def make(folder: Path, log: Path) -> Path:
        source = folder / f"{_TOP}.v"
        source.write_text(text)
        with _environment(environment):
            get_runner(simulator).build(
                sources=[source],
                hdl_toplevel=_TOP,
                build_dir=folder / "build",
                build_args=options,
                # Amaranth's Verilog sets no timescale; without one Icarus counts in seconds.
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        return folder / "build"

    key = digest(text, *options, f"{program.version} {version('cocotb')} {config.libs_dir}")
    return cached(f"bench-{simulator}-{key}", make)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment of this process, where cocotb's runner looks for the simulator."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
