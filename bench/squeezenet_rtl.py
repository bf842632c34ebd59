"""SqueezeNet on 64 elements: a photograph through the compiled RTL, layer by layer.

    python -m bench.squeezenet_rtl compressed_SqueezeNet.net [--photograph chelsea] [--clock 100]
        [--json]

The file is the one that the authors of Deep Compression have published; see
:mod:`golden.importers.han`. Its weights keep their codes; radix points come from photographs other
than the one that is run. Every activation that the hardware shows has to be the golden model's, bit
by bit, and the class that scores most has to be the float network's.

Feature maps are in memory outside, as :data:`sim.harness.MEMORY` has it. For each layer there are

``cycles``
    As the device counts them, reading and writing of maps included.
``products``
    Of two non-zeros. ``ideal`` are the cycles that these take if all elements are always busy.
``dense``
    Products that a machine makes which knows nothing of zeros. ``per_cycle`` are those over cycles
    and elements, so what a multiplier is worth against one of such a machine that never waits.

Beside them stands what Eyeriss makes of the convolutions of AlexNet, which by their shapes are 666
million dense products: 168 multipliers, 200 MHz, 35 frames a second (Chen et al., "Eyeriss: an
energy-efficient reconfigurable accelerator for deep convolutional neural networks", JSSC 2017).
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.errors import MismatchError, PrunusError
from golden.fixed import quantise
from golden.image import Network, to_bytes
from golden.importers import han
from golden.layers import Weighted
from golden.nets.photographs import CALIBRATION, photographs
from golden.nets.squeezenet import SIDE
from golden.network import run as golden_run
from hdl.configuration import PRESETS
from mapping import Plan, plan
from mapping.stages import matrix, window_inputs
from sim.compiled import CompiledModel

DEVICE = "cnn64"
WIDTH = 16
EYERISS = {"products": 666e6, "elements": 168, "cycles": 200e6 / 35}


def layers(laid: Plan, tensors: list[np.ndarray], cycles: list[int]) -> list[dict[str, Any]]:
    """A row for each layer that is shown; ``tensors`` are the picture and what each layer makes."""
    network, elements = laid.network, laid.configuration.elements
    rows = []
    for number, taken in zip(laid.shown, cycles, strict=True):
        layer = network.layers[number]
        products = dense = 0
        if isinstance(layer, Weighted):
            active = (window_inputs(network, number, tensors) != 0).sum(axis=(0, 1))
            products = int(active @ np.diff(matrix(layer).column_starts))
            dense = math.prod(network.shapes[number + 1]) * layer.inputs
        rows.append(
            {
                "name": layer.name,
                "cycles": taken,
                "products": products,
                "ideal_cycles": products / elements,
                "dense": dense,
                "per_cycle": dense / taken / elements,
            }
        )
    return rows


def measure(path: Path, photograph: str, clock: float) -> dict[str, Any]:
    """All that is found out about one photograph."""
    published = han.read(path)
    calibration = photographs(CALIBRATION, SIDE)
    network = han.convert_published(
        published, calibration, name="squeezenet", activation_width=WIDTH
    )
    picture = photographs([photograph], SIDE)
    with torch.no_grad():
        best = int(published.module(picture).argmax())
    given = quantise(picture.movedim(1, 3).flatten(1), network.input_radix, WIDTH)
    golden = [given, *(outputs for _, outputs in golden_run(network, given))]
    tensors = [one.numpy() for one in golden]
    laid = plan(network, PRESETS[DEVICE])
    print("building the model of the hardware", file=sys.stderr, flush=True)
    with CompiledModel(laid.configuration) as model:
        model.load(laid)
        begin = time.perf_counter()
        run = model.run(given.numpy().astype(np.int16), ahead=1, taps=True)
        seconds = time.perf_counter() - begin
        report = model.report()
    _check(network, laid, run.taps or [], tensors, best)
    rows = layers(laid, tensors, report.cycles)
    totals = {key: sum(row[key] for row in rows) for key in ("products", "ideal_cycles", "dense")}
    elements = laid.configuration.elements
    return {
        "photograph": photograph,
        "class": best,
        "image_bytes": len(to_bytes(network)),
        "published_bytes": published.size,
        "device": DEVICE,
        "elements": elements,
        "layers": rows,
        "total": {
            **totals,
            "cycles": run.cycles,
            "per_cycle": totals["dense"] / run.cycles / elements,
        },
        "activations_compared": sum(tensors[number + 1].size for number in laid.shown),
        "clock_mhz": clock,
        "frames_per_second": clock * 1e6 / run.cycles,
        "eyeriss_per_cycle": EYERISS["products"] / EYERISS["cycles"] / EYERISS["elements"],
        "simulation_seconds": seconds,
    }


def _check(
    network: Network, laid: Plan, taps: list[np.ndarray], tensors: list[np.ndarray], best: int
) -> None:
    for number, found in zip(laid.shown, taps, strict=True):
        if not np.array_equal(found, tensors[number + 1]):
            raise MismatchError(f"layer {network.layers[number].name!r}: not the golden model's")
    if int(tensors[-1].argmax()) != best:
        raise MismatchError(f"class {int(tensors[-1].argmax())}, not the float network's {best}")


def table(found: dict[str, Any]) -> str:
    """What was measured, to read."""
    lines = ["layer                      cycles     products      ideal          dense  per cycle"]
    for row in [*found["layers"], {"name": "whole network", **found["total"]}]:
        lines.append(
            f"{row['name']:21}{row['cycles']:12,}{row['products']:13,}{row['ideal_cycles']:11,.0f}"
            f"{row['dense']:15,}{row['per_cycle']:11.2f}"
        )
    total, count = found["total"], found["activations_compared"]
    lines += [
        "",
        f"{found['photograph']}: class {found['class']}, as of the float network",
        f"{count:,} activations equal to the golden model's, bit by bit",
        f"image: {found['image_bytes']:,} bytes, the published file {found['published_bytes']:,}",
        f"{found['frames_per_second']:.1f} frames a second at {found['clock_mhz']:g} MHz (assumed)",
        f"dense products for each multiplier and cycle: {total['per_cycle']:.2f}",
        f"Eyeriss, convolutions of AlexNet: {found['eyeriss_per_cycle']:.2f}",
        f"simulated in {found['simulation_seconds']:.0f} s",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.squeezenet_rtl",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE.net")
    parser.add_argument("--photograph", default="chelsea", help="of scikit-image")
    parser.add_argument("--clock", type=float, default=100, help="in MHz, for frames a second")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        found = measure(options.path, options.photograph, options.clock)
    except PrunusError as error:
        print(f"bench.squeezenet_rtl: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
