"""3x3 convolutions of a network on each engine: sparse, Winograd, direct. Which takes fewer cycles?

    python -m bench.engines IMAGE [--device cnn64-f2] [--dataset mnist] [--pictures 20] [--json]

The same pictures go through the RTL of the device, where mapping chooses an engine for each layer,
and of the same device without its Winograd unit; all activations are compared with the golden
model's. Beside that stands what is predicted for layers on the unit, chosen or not, and on a direct
one of about as many multipliers (nine for each of its output channels), which has a product of a
weight and an activation in each, zeros or not.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.errors import FitError, MismatchError, PrunusError
from golden.fixed import quantise
from golden.image import Network, load
from golden.layers import Convolution
from golden.nets.data import load_dataset
from golden.network import run
from hdl.configuration import PRESETS, Configuration
from hdl.maps.conductor import Work
from mapping import Plan, plan
from mapping.convolve import lay_out_winograd, takes
from mapping.winograd import predict
from sim.compiled import CompiledModel

TAPS = 9


def measure(laid: Plan, inputs: np.ndarray) -> dict[int, float]:
    """Cycles of each layer for a picture, on the RTL, whose activations are all compared."""
    golden = [outputs.numpy() for _, outputs in run(laid.network, torch.from_numpy(inputs))]
    with CompiledModel(laid.configuration) as model:
        model.load(laid)
        model.report()
        found = model.run(inputs, ahead=1, taps=True)
        assert found.taps is not None
        for number, tap in zip(laid.shown, found.taps, strict=True):
            if not np.array_equal(tap, golden[number]):
                raise MismatchError(f"layer {laid.network.layers[number].name!r} differs")
        cycles = model.report().cycles
    return dict(zip(laid.shown, (one / len(inputs) for one in cycles), strict=True))


def on_unit(network: Network, number: int, c: Configuration) -> tuple[int | None, int | None]:
    """Predicted cycles of a layer on the device's Winograd unit, and on a direct one."""
    layer, (source,) = network.layers[number], network.sources[number]
    assert isinstance(layer, Convolution)
    assert c.winograd is not None
    try:
        laid = lay_out_winograd(
            layer,
            c,
            network.shapes[source],
            np.arange(layer.channels),
            shift=network.shifts[number],
            activation_width=network.activation_width,
        )
    except FitError:
        return None, None
    if laid.layer.padding != "same":
        return laid.cycles, None
    multipliers = c.winograd.kernels * c.winograd.size**2
    direct = replace(c.winograd, tile=1, kernels=min(16, multipliers // TAPS), drains=1)
    return laid.cycles, predict(laid.layer, direct).cycles


def compare(network: Network, c: Configuration, inputs: np.ndarray) -> list[dict[str, Any]]:
    """A row for each convolution that the unit takes."""
    chosen, without = plan(network, c), plan(network, replace(c, winograd_tile=0))
    engines = {one.layer: one.work for one in chosen.stages}
    measured, sparse = measure(chosen, inputs), measure(without, inputs)
    rows = []
    for number, layer in enumerate(network.layers):
        if not takes(layer):
            continue
        assert isinstance(layer, Convolution)
        unit, direct = on_unit(network, number, c)
        rows.append(
            {
                "name": layer.name,
                "input": network.shapes[network.sources[number][0]],
                "outputs": layer.outputs,
                "density": layer.nonzeros / (layer.outputs * layer.inputs),
                "sparse_cycles": sparse[number],
                "winograd_cycles": unit,
                "direct_cycles": direct,
                "chosen": "winograd" if engines[number] is Work.WINOGRAD else "sparse",
                "cycles": measured[number],
            }
        )
    return rows


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""

    def cycles(number: float | None) -> str:
        return "" if number is None else f"{number:,.0f}"

    lines = [
        "{device}, {pictures} pictures, all activations equal".format(**document),
        "",
        "layer       input     outputs  density    sparse  winograd    direct  chosen       cycles",
    ]
    for row in document["layers"]:
        shape = "x".join(map(str, row["input"]))
        lines.append(
            f"{row['name']:10}  {shape:9}  {row['outputs']:6}  {row['density']:6.1%}"
            f"  {cycles(row['sparse_cycles']):>8}  {cycles(row['winograd_cycles']):>8}"
            f"  {cycles(row['direct_cycles']):>8}  {row['chosen']:9} {cycles(row['cycles']):>9}"
        )
    lines += ["", "sparse, cycles: measured on the RTL; winograd, direct: predicted"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engines", description=__doc__.splitlines()[0]
    )
    parser.add_argument("image", type=Path)
    presets = [name for name, one in PRESETS.items() if one.winograd]
    parser.add_argument("--device", choices=presets, default=presets[-1])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        network = load(options.image)
        pictures = load_dataset(options.dataset).test_x[: options.pictures].flatten(1)
        inputs = quantise(pictures, network.input_radix, network.activation_width)
        layers = compare(network, PRESETS[options.device], inputs.numpy())
    except (OSError, PrunusError) as error:
        sys.exit(f"{error}")
    document = {"device": options.device, "pictures": len(inputs), "layers": layers}
    print(json.dumps(document, indent=2) if options.json else table(document))


if __name__ == "__main__":
    main()
