"""Sizes: the units that feature maps pass through, placed and routed for an FPGA.

    python -m bench.maps [--units walk,fold,...] [--seeds 3] [--json] [--work FOLDER]

Each is synthesised, placed and routed by itself, as :mod:`bench.fpga` does it, for LFE5U-85F in
speed grade 6. ``lut4`` counts LUTs without those that carry chains and LUT RAM take, ``cells``
is what nextpnr used, these included. The clock is the median over the seeds.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data, wiring

from bench.fpga import Enclosed, Target, path, placements, synthesise
from hdl.maps.fold import Fold
from hdl.maps.memory import External, OnChip
from hdl.maps.walk import Walk

MEGAHERTZ = 150
_WORD = data.ArrayLayout(signed(8), 8)

UNITS: dict[str, partial[wiring.Component]] = {
    "walk": partial(Walk, levels=5, address_width=20, coordinate_width=12),
    "on-chip": partial(OnChip, _WORD, depth=1 << 13),
    "external": partial(External, _WORD, address_width=20, reads=64),
    "fold": partial(Fold, scan_width=8, activation_width=8, accumulator_width=18),
    "fold-16": partial(Fold, scan_width=8, activation_width=16, accumulator_width=24),
}


def measure(name: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Size and clock of a unit."""
    options = ("--package", "CABGA381", "--speed", "6")
    target = Target("ecp5", "85k", options, MEGAHERTZ, None)
    cells, _ = synthesise(target, Enclosed(UNITS[name]()), folder)
    speeds, fmax, middle = placements(target, seeds, folder)
    used = {kind: entry["used"] for kind, entry in middle["utilization"].items()}
    return {
        "unit": name,
        "lut4": cells["LUT4"],
        "cells": used["TRELLIS_COMB"],
        "flip_flops": used["TRELLIS_FF"],
        "dsp": used["MULT18X18D"],
        "ram": used["DP16KD"],
        "fmax": round(fmax, 1),
        "speeds": [round(speed, 1) for speed in speeds],
        "path": path(middle),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """What was measured, to read."""
    lines = ["unit          LUT4   cells      FF  DSP  RAM    MHz"]
    lines += [
        f"{row['unit']:12}{row['lut4']:6,}{row['cells']:8,}{row['flip_flops']:8,}"
        f"{row['dsp']:5}{row['ram']:5}{row['fmax']:7.1f}"
        for row in rows
    ]
    for row in rows:
        slow = row["path"]
        lines.append(
            f"{row['unit']}: {slow['from']} to {slow['to']}, {slow['levels']} levels, "
            f"{slow['clk-to-q'] + slow['logic'] + slow['setup']:.1f} ns of logic and "
            f"{slow['routing']:.1f} ns of wires"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.maps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--units", default=",".join(UNITS), help=", ".join(UNITS))
    parser.add_argument("--seeds", type=int, default=3, help="placements to take the median of")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--work", type=Path, default=Path("build", "maps"), help="folder to use")
    options = parser.parse_args()
    names = options.units.split(",")
    if unknown := set(names) - UNITS.keys():
        parser.error(f"no such unit: {', '.join(sorted(unknown))}")
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    rows = []
    for name in names:
        start = time.perf_counter()
        rows.append(measure(name, options.seeds, options.work / name))
        seconds = time.perf_counter() - start
        print(f"{name}: {rows[-1]['fmax']} MHz, {seconds:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=2) if options.json else table(rows))


if __name__ == "__main__":
    main()
