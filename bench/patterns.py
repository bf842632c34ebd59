"""Patterns of pruning: what does each cost in accuracy, and how even does it make the work?

    python -m bench.patterns [--dataset digits|mnist|fashion-mnist] [--json] [--work FOLDER]

The bundled recipe is followed with each pattern of :mod:`golden.compress.prune`, at its densities:
*free*; *balanced* for the elements of the device; and *N:M*, with N of each 20 weights of a column.
All start from the same float network. Then the compiled RTL runs each image on all test pictures,
back to back, and each bit of each answer has to be the golden model's.

A row of the table, and of the list ``rows`` of the JSON, has

``accuracy``, ``density``, ``bytes``
    Of the image: of its integers for the test pictures, over all layers, of the whole file.
``even``
    For each layer, ideal over actual work in the columns: weights over elements, over the sum of
    what the busiest element has in each column. It is 1 if no column keeps one element longer than
    another, and it says nothing of the device besides the rows that each element has.
``ideal_cycles``, ``cycles``
    For a picture: products of two non-zeros over elements, and what the RTL takes.

An interrupted run continues where it was.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.lenet import RECIPES as LENET
from bench.lenet import command, machine_inputs, on_hardware
from golden.compress.pipeline import compress
from golden.compress.recipe import Prune, Recipe, load_recipe
from golden.nets.data import load_dataset
from golden.network import run as golden_run
from hdl.configuration import PRESETS
from mapping import Plan, plan
from mapping.cycles import useful
from mapping.layer import LayerPlan
from sim.compiled import CompiledModel

# Recipe, and device. The layers of the first have too few rows for more elements.
SETTINGS = {"digits": ("digits", "pe4")} | {name: (LENET[name], "pe16") for name in LENET}
# M of the pattern N:M: densities are multiples of its inverse.
PIECE = 20


def patterns(base: Recipe, elements: int) -> dict[str, Recipe]:
    """The recipe with each pattern, by what a table calls it."""
    prune = base.prune
    assert prune.densities is not None
    ratios = tuple(f"{round(PIECE * density)}:{PIECE}" for density in prune.densities)
    chosen: dict[str, Prune] = {
        "free": prune,
        f"balanced, {elements}": dataclasses.replace(prune, pattern="balanced", elements=elements),
        " ".join(ratios): dataclasses.replace(prune, pattern=ratios, densities=None),
    }
    return {name: dataclasses.replace(base, prune=one) for name, one in chosen.items()}


def evenness(layer: LayerPlan) -> float:
    """Mean over the greatest number of weights of an element, added up over columns; 1 is best."""
    members = len(layer.entries.counts) // layer.teams
    owner = layer.outputs[layer.layer.rows] % members
    cells = layer.layer.columns.astype(np.int64) * members + owner
    counts = np.bincount(cells, minlength=layer.layer.inputs * members).reshape(-1, members)
    return float(counts.mean(axis=1).sum() / counts.max(axis=1).sum())


def ideal(laid: Plan, inputs: np.ndarray) -> float:
    """Cycles for a vector if no element ever waited."""
    results = golden_run(laid.network, torch.from_numpy(inputs))
    activations = [inputs, *(outputs.numpy() for _, outputs in results[:-1])]
    return float(useful(laid, activations).sum(axis=1).mean() / laid.configuration.elements)


def run(name: str, work_dir: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Follow the recipe of a data set with each pattern; everything measured, fit for JSON."""
    start = time.perf_counter()
    recipe, device = SETTINGS[name]
    base, dataset = load_recipe(recipe), load_dataset(name)
    rows = []
    with CompiledModel(PRESETS[device]) as model:
        for pattern, variant in patterns(base, PRESETS[device].elements).items():
            log(pattern)
            result = compress(variant, work_dir, dataset=dataset)
            reference, image = result.stages[0].after, result.stages[-1].after
            inputs, _ = machine_inputs(result.network, dataset)
            hardware = on_hardware(result.network, dataset, model)
            laid = plan(result.network, PRESETS[device])
            rows.append(
                {
                    "pattern": pattern,
                    "accuracy": image.accuracy,
                    "validation": image.validation,
                    "density": image.density,
                    "bytes": image.bytes,
                    "even": [evenness(layer) for layer in laid.layers],
                    "ideal_cycles": ideal(laid, inputs),
                    "cycles": hardware["cycles_per_picture"],
                }
            )
    return {
        "dataset": name,
        "device": device,
        "pictures": len(inputs),
        "equal": True,
        "reference": dataclasses.asdict(reference),
        "seconds": time.perf_counter() - start,
        "rows": rows,
    }


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    reference = document["reference"]
    width = max(len(row["pattern"]) for row in document["rows"])
    lines = [
        "{dataset}: {pictures} pictures on {device}; {seconds:.0f} s".format(**document),
        "every bit of every answer equal to the golden model's",
        f"float32: {100 * reference['accuracy']:.2f} %",
        "",
        f"{'pattern':{width}}  accuracy  density   bytes   ideal  cycles  even, by layer",
    ]
    for row in document["rows"]:
        even = " ".join(f"{one:.3f}" for one in row["even"])
        lines.append(
            f"{row['pattern']:{width}}  {100 * row['accuracy']:6.2f} %  "
            f"{100 * row['density']:5.2f} %  {row['bytes']:6,}  "
            f"{row['ideal_cycles']:6.1f}  {row['cycles']:6.1f}  {even}"
        )
    return "\n".join(lines)


def main() -> None:
    command(
        "patterns",
        description=__doc__.splitlines()[0],
        datasets=SETTINGS,
        default="digits",
        run=run,
        table=table,
    )


if __name__ == "__main__":
    main()
