"""The Winograd unit: random layers on its RTL, cycles on VGG-16, sizes on an FPGA.

    python -m bench.winograd [--layers 1000] [--sizes f2-core,f4-core,...] [--seeds 3] [--json]
        [--work FOLDER]

Random layers run on the compiled RTL of six units, alone or one right behind the other, with and
without stalls on both sides of each stream; and a third as many on two units more, whose layers can
be paired, and half of them are. Each result has to be that of
``torch.nn.functional.conv2d`` on integers, rounded; cycles of a layer that runs alone and never
waits have to be those of :func:`mapping.winograd.predict`; else the bench ends with an error.

The second table has the thirteen 3x3 layers of VGG-16 (Simonyan and Zisserman, "Very Deep
Convolutional Networks for Large-Scale Image Recognition", ICLR 2015), predicted for a unit of F2
with 8 kernels, which are 128 multipliers, and for one of F4 with 4, which are 144. Four of them, of
a quarter of the size and an eighth of the channels, run on the RTL of these units too.

``products``
    of a direct convolution, those with the padding included, per multiplier and cycle.
``beyond``
    Cycles that are not steps, which are tiles times groups of kernels times channels. With fewer
    channels than a unit's ``least``, as in the first layer, a tile takes that many steps.

The same layers, paired, are predicted for units that take that (``Parameters.pairs``), and beside
that what there would be if each multiplier skipped the zeros of its own: if a half of all weights
were zero, anywhere, and nothing else were lost. What pruning costs in accuracy is in the table of a
small network that is trained for it: see :mod:`bench.pairs`.

With ``--sizes`` units are synthesised, placed and routed as :mod:`bench.fpga` does it, for
LFE5U-85F in speed grade 6, with a floor plan for kernels (``bench/floorplan.py``). ``lut`` counts
LUT4 and two for each CCU2C, a pair of bits of carry; ``cells`` is what nextpnr used, LUT RAM
included. A core is the arithmetic of a unit with one kernel, from windows to rounded results, and
memory for its weights. A second of the clock is so many operations: two for each product of a
direct convolution. ``direct`` is a unit without transforms, of as many multipliers and as much
memory as that of F4; ``of direct`` are operations over its own.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amaranth import Module
from amaranth.lib import wiring

from bench import floorplan
from bench import pairs as trained
from bench.fpga import Enclosed, Target, path, placements, plan_floor, synthesise
from golden.errors import FitError, MismatchError, PrunusError
from golden.fixed import limits, requantise
from golden.nets.random import random_pairs
from golden.winograd import phases
from hdl.streams import delayed
from hdl.winograd.drain import Drain
from hdl.winograd.engine import Engine
from hdl.winograd.kernel import Hop, Kernel, skewed
from hdl.winograd.parameters import Parameters
from hdl.winograd.transforms import INPUTS, Transform
from mapping.winograd import Convolution, describe, predict
from sim.winograd import CompiledUnit, Layer

UNITS = {
    "direct": Parameters(tile=1, kernels=5, drains=2, sum_width=26, window_depth=2048),
    "F2, 8 bits": Parameters(tile=2, kernels=4, sum_width=26, output_depth=512),
    "F2, codes": Parameters(tile=2, kernels=5, drains=2, code_width=4, sum_width=26),
    "F2, 16 bits": Parameters(
        tile=2, kernels=2, activation_width=16, sum_width=36, window_depth=2048
    ),
    "F4, 8 bits": Parameters(tile=4, kernels=2, sum_width=26, window_depth=2048),
    "F4, codes": Parameters(tile=4, kernels=3, drains=2, code_width=4, sum_width=26),
}
# Of these, sums are as wide as weights in the Winograd domain can make them.
PAIRS = {
    "F2, pairs": Parameters(tile=2, kernels=4, drains=2, sum_width=27, pairs=True),
    "F4, pairs": Parameters(
        tile=4, kernels=2, weight_width=12, sum_width=42, window_depth=2048, pairs=True
    ),
}

# Rows, channels and kernels.
VGG = {
    "conv1_1": (224, 3, 64),
    "conv1_2": (224, 64, 64),
    "conv2_1": (112, 64, 128),
    "conv2_2": (112, 128, 128),
    "conv3_1": (56, 128, 256),
    "conv3_2": (56, 256, 256),
    "conv3_3": (56, 256, 256),
    "conv4_1": (28, 256, 512),
    "conv4_2": (28, 512, 512),
    "conv4_3": (28, 512, 512),
    "conv5_1": (14, 512, 512),
    "conv5_2": (14, 512, 512),
    "conv5_3": (14, 512, 512),
}
SCALED = ("conv1_2", "conv2_2", "conv3_1", "conv4_2")
# More memory for windows than the FPGA has, so that no layer need be cut into strips.
_DEEP = {
    "window_depth": 1 << 15,
    "channel_depth": 512,
    "kernel_depth": 512,
    "output_depth": 1 << 13,
}
WHOLE = {
    "F2": Parameters(tile=2, kernels=8, drains=3, **_DEEP),
    "F4": Parameters(tile=4, kernels=4, drains=2, **_DEEP),
}
# Tiles take half the time, and their weights as long as before, so that more tiles have to share.
# Sums are those of 64 channels at worst.
_WIDTHS = {
    "F2": {"weight_width": 8, "sum_width": 28},
    "F4": {"weight_width": 12, "sum_width": 42},
}
WHOLE_PAIRS = {
    name: replace(p, band_depth=32, output_depth=1 << 14, pairs=True, **_WIDTHS[name])
    for name, p in WHOLE.items()
}


class Core(wiring.Component):
    """The arithmetic of a unit with one kernel: from windows to results, and its weights.

    Its inputs and outputs are those of the parts, which have them in their documentation.
    """

    _HOP = ("weight", "ends", "load", "clear")
    _SETTINGS = ("shift", "low", "high", "half", "bias")

    def __init__(self, parameters: Parameters) -> None:
        p = parameters
        self._size = p.size
        self._transform = Transform(INPUTS[p.tile], width=p.activation_width)
        self._kernel = Kernel(p)
        self._drain = Drain(p, kernels=1)
        hop, drain = Hop(p).members, self._drain.signature.members
        super().__init__(
            {
                "i": self._transform.signature.members["i"],
                "o": drain["o"],
                **{name: hop[name].flip() for name in self._HOP},
                **{name: drain[name] for name in ("result", *self._SETTINGS)},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.transform = transform = self._transform
        m.submodules.kernel = kernel = self._kernel
        m.submodules.drain = drain = self._drain
        wait = Kernel.LATENCY - Drain.AHEAD
        m.d.comb += [
            transform.i.eq(self.i),
            kernel.i.values[0].eq(skewed(m, transform.o, size=self._size, name="values")),
            *(getattr(kernel.i, name).eq(getattr(self, name)) for name in self._HOP),
            kernel.rows.eq(drain.rows[0]),
            drain.sums[0].eq(kernel.o),
            drain.begins.eq(delayed(m, self.ends, cycles=wait, name="begins")),
            drain.clear.eq(self.clear),
            drain.result.eq(self.result),
            # In a register near the drain, as a unit has them.
            *(
                getattr(drain, name).eq(delayed(m, getattr(self, name), cycles=1, name=name))
                for name in self._SETTINGS
            ),
            self.o.eq(drain.o),
        ]
        return m


@dataclass(frozen=True)
class Size:
    """What to place, and the clock that is asked for, in MHz."""

    unit: type[Core | Engine]
    parameters: Parameters
    megahertz: int


_ONE = {"window_depth": 1024, "channel_depth": 256, "kernel_depth": 64, "output_depth": 256}
_MANY = {"code_width": 4, "window_depth": 2048, "channel_depth": 256, "kernel_depth": 256}
SIZES = {
    "f2-core": Size(Core, Parameters(tile=2, kernels=1, **_ONE), 240),
    "f4-core": Size(Core, Parameters(tile=4, kernels=1, **_ONE), 210),
    "f2x1": Size(Engine, Parameters(tile=2, kernels=1, **_ONE), 160),
    "f4x1": Size(Engine, Parameters(tile=4, kernels=1, **_ONE), 160),
    "f2x8": Size(Engine, Parameters(tile=2, kernels=8, drains=3, output_depth=2048, **_MANY), 160),
    "f4x4": Size(Engine, Parameters(tile=4, kernels=4, drains=1, output_depth=2048, **_MANY), 160),
    # As much memory for windows as that of F4 takes.
    "direct": Size(
        Engine,
        Parameters(
            tile=1, kernels=16, drains=4, output_depth=2048, **{**_MANY, "window_depth": 8192}
        ),
        160,
    ),
}


def random_layer(rng: np.random.Generator, p: Parameters) -> tuple[Layer, np.ndarray]:
    """A layer that fits, and its weights, which may be codes in the layer."""
    low, high = limits(p.activation_width, rng.choice(["none", "relu"]))
    while True:
        padding = str(rng.choice(["same", "valid"]))
        sides = rng.integers(1 if padding == "same" else 3, 17, 2).tolist()
        shape = Convolution(
            height=sides[0],
            width=sides[1],
            channels=-(-int(rng.choice([1, 3, 64, rng.integers(1, 65)])) // p.ways) * p.ways,
            kernels=int(rng.integers(1, 17)),
            padding=padding,
            shift=int(rng.integers(0, p.sum_width)),
            low=low,
            high=high,
            paired=p.pairs and bool(rng.integers(2)),
        )
        try:
            describe(shape, p)
        except FitError:
            continue
        return fill(rng, p, shape)


def fill(rng: np.random.Generator, p: Parameters, shape: Convolution) -> tuple[Layer, np.ndarray]:
    """Random numbers for a layer: all of them, the two extreme ones only, or the least one only."""

    def numbers(width: int, *lengths: int) -> np.ndarray:
        low, high = limits(width)
        kind = rng.integers(4)
        if kind == 0:
            return np.full(lengths, low)
        return (
            rng.choice([low, high], lengths) if kind == 1 else rng.integers(low, high + 1, lengths)
        )

    inputs = numbers(p.activation_width, shape.channels, shape.height, shape.width)
    biases = rng.integers(-(1 << 20), 1 << 20, shape.kernels)
    side = p.size if shape.paired else 3
    lengths = (shape.kernels, shape.channels, side, side)
    there = random_pairs(rng, 1, 1, lengths) if shape.paired else 1
    if p.code_width is None:
        weights = numbers(p.weight_width, *lengths) * there
        return Layer(shape, inputs, weights, biases), weights
    codebook = numbers(p.weight_width, 1 << p.code_width)
    if shape.paired:
        codebook[0] = 0
    codes = rng.integers(0, 1 << p.code_width, lengths) * there
    return Layer(shape, inputs, codes, biases, codebook), codebook[codes]


def direct(layer: Layer, weights: np.ndarray) -> np.ndarray:
    """The results, by PyTorch."""
    shape = layer.convolution
    inputs, kernels = torch.from_numpy(layer.inputs)[None], torch.from_numpy(weights)
    if shape.paired:
        sums = _by_phases(inputs, kernels, shape)[0]
    else:
        sums = torch.nn.functional.conv2d(inputs, kernels, padding=shape.padding)[0]
    sums = sums + torch.from_numpy(layer.biases)[:, None, None]
    return requantise(sums, shape.shift, shape.low, shape.high).numpy()


def _by_phases(inputs: torch.Tensor, weights: torch.Tensor, shape: Convolution) -> torch.Tensor:
    """A convolution for each result of a tile, with a tile as its stride."""
    tile = weights.shape[2] - 2
    before, (rows, columns) = int(shape.padding == "same"), shape.results
    image = torch.nn.functional.pad(inputs, (before, before + tile) * 2).double()
    # Exact, for sums have less than 53 bits.
    found = torch.nn.functional.conv2d(
        image, phases(weights, tile).flatten(0, 2).double(), stride=tile
    )
    whole = torch.nn.functional.pixel_shuffle(found, tile)
    return whole[:, :, :rows, :columns].to(torch.int64)


def check(
    unit: CompiledUnit, pairs: list[tuple[Layer, np.ndarray]], *, seed: int, stalls: bool
) -> int:
    """Run layers, and compare bits, and cycles where they are predicted. Gives the cycles."""
    rng = np.random.default_rng(seed)
    chances = rng.choice([0.0, 0.3, 0.9], 2) if stalls else (0.0, 0.0)
    layers = [layer for layer, _ in pairs]
    run = unit.run(layers, stall=chances[0], stall_out=chances[1], seed=seed)
    assert run is not None
    for output, (layer, weights) in zip(run.outputs, pairs, strict=True):
        if not np.array_equal(output, direct(layer, weights)):
            raise MismatchError(f"results differ, seed {seed}: {layer.convolution}")
    if not stalls:
        for busy, layer in zip(run.busy, layers, strict=True):
            predicted = predict(layer.convolution, unit.parameters).cycles
            if busy != predicted:
                raise MismatchError(
                    f"{busy} cycles, not {predicted}, seed {seed}: {layer.convolution}"
                )
    return run.cycles


def random_layers(count: int, units: dict[str, Parameters] = UNITS) -> list[dict[str, Any]]:
    """Random layers on each unit: half of them alone and without stalls, half in threes with."""
    rows = []
    for number, (name, p) in enumerate(units.items()):
        unit, start = CompiledUnit(p), time.perf_counter()
        rng = np.random.default_rng(number)
        layers = cycles = 0
        alone = beyond = 0
        # Where cycles count, the time that a unit takes after a reset is over.
        check(unit, [random_layer(rng, p)], seed=1, stalls=True)
        while layers < -(-count // len(units)):
            # After three layers that ran alone, three together.
            stalls = layers % 6 == 3
            pairs = [random_layer(rng, p) for _ in range(3 if stalls else 1)]
            cycles += check(unit, pairs, seed=layers + 1, stalls=stalls)
            if not stalls:
                predicted = predict(pairs[0][0].convolution, p)
                alone += 1
                beyond += predicted.cycles - predicted.steps > 64
            layers += len(pairs)
        seconds = time.perf_counter() - start
        rows.append(
            {
                "unit": name,
                "layers": layers,
                "cycles": cycles,
                "predicted": alone,
                "waiting": beyond,
                "seconds": seconds,
            }
        )
        print(f"{name}: {layers} layers, {seconds:.0f} s", file=sys.stderr, flush=True)
    return rows


def vgg(units: dict[str, Parameters] = WHOLE) -> list[dict[str, Any]]:
    """The layers of VGG-16 on the model: paired, if units take that."""
    rows = []
    for name, (side, channels, kernels) in VGG.items():
        shape = _vgg_layer(side, channels, kernels)
        row: dict[str, Any] = {"layer": name, "products": shape.products}
        row |= {unit: _predicted(shape, p) for unit, p in units.items()}
        for unit, p in units.items():
            if p.pairs:
                row[unit]["skipping"] = skipping(shape, p)
        rows.append(row)
    total: dict[str, Any] = {"layer": "all", "products": sum(row["products"] for row in rows)}
    for unit, p in units.items():
        counted = [name for name in rows[0][unit] if name != "products"]
        total[unit] = {name: sum(row[unit][name] for row in rows) for name in counted}
        total[unit]["products"] = _rate(total["products"], total[unit]["cycles"], p)
    return [*rows, total]


def skipping(shape: Convolution, p: Parameters) -> int:
    """Cycles at best, if each multiplier skipped the zeros of its own weights.

    Of which a half is zero, anywhere. A tile takes as long as the multiplier with the most weights
    of a group of kernels; which one that is, is the same in all tiles, so no queue evens it out.
    """
    rng = np.random.default_rng(0)
    counts = rng.binomial(shape.channels, 0.5, (shape.kernels, p.size**2)).max(axis=1)
    groups = [counts[n : n + p.kernels].max() for n in range(0, len(counts), p.kernels)]
    tiles = math.prod(-(-length // p.tile) for length in shape.results)
    return tiles * sum(max(int(steps), p.least) for steps in groups)


def scaled(units: dict[str, Parameters] = WHOLE) -> list[dict[str, Any]]:
    """Some of them, made smaller, on the RTL. With pairs, they have twice as many channels."""
    rows = []
    for unit, p in units.items():
        model, rng = CompiledUnit(p), np.random.default_rng(0)
        for name in SCALED:
            side, channels, kernels = VGG[name]
            shape = _vgg_layer(side // 4, channels * p.ways // 8, kernels // 8)
            check(model, [fill(rng, p, _on(shape, p))], seed=1, stalls=False)
            kind = "paired" if p.pairs else ""
            rows.append({"layer": name, "unit": f"{unit} {kind}".strip(), **_predicted(shape, p)})
    return rows


def _on(shape: Convolution, p: Parameters) -> Convolution:
    """A layer on a unit: paired, if that takes it, with a channel of zeros if one is missing."""
    return replace(shape, channels=-(-shape.channels // p.ways) * p.ways, paired=p.pairs)


def _predicted(shape: Convolution, p: Parameters) -> dict[str, Any]:
    predicted = predict(_on(shape, p), p)
    return {
        "cycles": predicted.cycles,
        "beyond": predicted.cycles - predicted.steps,
        "products": _rate(shape.products, predicted.cycles, p),
    }


def _rate(products: int, cycles: int, p: Parameters) -> float:
    """Products per multiplier and cycle."""
    return products / cycles / (p.kernels * p.size**2)


def _vgg_layer(side: int, channels: int, kernels: int) -> Convolution:
    return Convolution(
        height=side,
        width=side,
        channels=channels,
        kernels=kernels,
        padding="same",
        shift=8,
        low=0,
        high=127,
    )


def measure(name: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Size and clock of a unit."""
    size = SIZES[name]
    p = size.parameters
    options = ("--package", "CABGA381", "--speed", "6")
    target = Target("ecp5", "85k", options, size.megahertz, p)
    cells, _ = synthesise(target, Enclosed(size.unit(p)), folder)
    plan_floor(target, folder, floorplan.arrange_kernels)
    speeds, fmax, middle = placements(target, seeds, folder)
    used = {kind: entry["used"] for kind, entry in middle["utilization"].items()}
    multipliers = p.kernels * p.size**2
    lut = cells["LUT4"] + 2 * cells["CCU2C"]
    return {
        "unit": name,
        "multipliers": multipliers,
        "lut": lut,
        "lut_per_kernel": round(lut / p.kernels),
        "cells": used["TRELLIS_COMB"],
        "flip_flops": used["TRELLIS_FF"],
        "dsp": used["MULT18X18D"],
        "ram": used["DP16KD"],
        "fmax": round(fmax, 1),
        "speeds": [round(speed, 1) for speed in speeds],
        "operations_per_dsp": 2 * 9 * p.tile**2 / p.size**2 * fmax * 1e6,
        "path": path(middle),
    }


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    lines = ["unit           layers    cycles  predicted  waiting"]
    lines += [
        f"{row['unit']:12}{row['layers']:9,}{row['cycles']:10,}{row['predicted']:11,}"
        f"{row['waiting']:9,}"
        for row in document["random"]
    ]
    heads = "layer      F2, cycles  beyond  products   F4, cycles  beyond  products"
    for title, vgg_rows in (heads, document["vgg"]), (heads + ", paired", document["vgg_pairs"]):
        lines += ["", title]
        for row in vgg_rows:
            parts = (
                f"{row[unit]['cycles']:12,}{row[unit]['beyond']:8,}{row[unit]['products']:10.3f}"
                for unit in WHOLE
            )
            lines.append(f"{row['layer']:9}" + " ".join(parts))
    lines += ["", "if multipliers skipped zeros  F2, products  F4, products"]
    for row in document["vgg_pairs"]:
        rates = (
            f"{_rate(row['products'], row[unit]['skipping'], p):14.3f}"
            for unit, p in WHOLE_PAIRS.items()
        )
        lines.append(f"{row['layer']:28}" + "".join(rates))
    lines += ["", "on the RTL, smaller     cycles  beyond  products"]
    lines += [
        f"{row['layer']:10}{row['unit']:11}{row['cycles']:9,}{row['beyond']:8,}"
        f"{row['products']:10.3f}"
        for row in document["scaled"]
    ]
    lines += ["", "trained       accuracy  integers  steps  cycles"]
    for row in document["trained"]:
        tile = "" if row["tile"] is None else f"F{row['tile']} "
        steps = f"{row['steps']:7.1f}" if "steps" in row else ""
        cycles = f"{row['cycles']:8,}" if "cycles" in row else ""
        lines.append(
            f"{tile + row['masks']:12}{100 * row['accuracy']:8.2f} %{100 * row['integers']:8.2f} %"
            f"{steps}{cycles}"
        )
    head = "unit     DSP     LUT  a kernel   cells      FF  RAM    MHz  GOP/s a DSP"
    of_direct = [row["operations_per_dsp"] for row in document["sizes"] if row["unit"] == "direct"]
    if document["sizes"]:
        lines += ["", head + "  of direct" * len(of_direct)]
    for row in document["sizes"]:
        ratios = "".join(f"{row['operations_per_dsp'] / other:11.2f}" for other in of_direct)
        lines.append(
            f"{row['unit']:8}{row['dsp']:4}{row['lut']:8,}{row['lut_per_kernel']:10,}"
            f"{row['cells']:8,}{row['flip_flops']:8,}{row['ram']:5}{row['fmax']:7.1f}"
            f"{row['operations_per_dsp'] / 1e9:13.3f}{ratios}"
        )
    for row in document["sizes"]:
        slow = row["path"]
        lines.append(
            f"{row['unit']}: {slow['from']} to {slow['to']}, {slow['levels']} levels, "
            f"{slow['clk-to-q'] + slow['logic'] + slow['setup']:.1f} ns of logic and "
            f"{slow['routing']:.1f} ns of wires"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.winograd",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=int, default=1000, help="random ones")
    parser.add_argument("--sizes", default="", help=", ".join(SIZES))
    parser.add_argument("--seeds", type=int, default=3, help="placements to take the median of")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--work", type=Path, default=Path("build", "winograd"), help="folder")
    options = parser.parse_args()
    names = options.sizes.split(",") if options.sizes else []
    if unknown := set(names) - SIZES.keys():
        parser.error(f"no such size: {', '.join(sorted(unknown))}")
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    try:
        document = {
            "random": random_layers(options.layers) + random_layers(options.layers // 3, PAIRS),
            "vgg": vgg(),
            "vgg_pairs": vgg(WHOLE_PAIRS),
            "scaled": scaled() + scaled(WHOLE_PAIRS),
            "trained": trained.run({p.tile: CompiledUnit(p) for p in PAIRS.values()}),
            "sizes": [measure(name, options.seeds, options.work / name) for name in names],
        }
    except PrunusError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps(document, indent=2) if options.json else table(document))


if __name__ == "__main__":
    main()
