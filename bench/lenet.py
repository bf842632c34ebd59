"""LeNet-300-100: how small can it be, and what does that cost?

    python -m bench.lenet [--dataset mnist|fashion-mnist] [--json] [--work FOLDER]

One float network is trained, and pruned and shared in several settings, each of which ends in an
image. An image is judged by the integers that :mod:`golden.network` computes for all test
pictures, and by the size of its file, everything in it counted, against 266,610 float32
parameters. Settings are compared by training pictures held back; the test pictures choose nothing.
Then the compiled RTL of 16 elements runs every image on all test pictures, and each bit of each
answer has to be the golden model's. An interrupted run continues where it was.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.compress.pipeline import Compressed, compress
from golden.compress.recipe import Recipe, load_recipe
from golden.compress.report import Event
from golden.errors import MismatchError, PrunusError
from golden.fixed import quantise
from golden.image import Network, ledger, load
from golden.nets.data import Dataset, load_dataset
from golden.network import run as golden_run
from hdl.configuration import PRESETS
from mapping import plan
from sim.compiled import CompiledModel

RECIPES = {"mnist": "lenet_300_100", "fashion-mnist": "lenet_300_100_fashion"}

# Densities of the three layers, and widths of the codes to try with them. The first of each is
# what Deep Compression has in its tables 1 and 2: 8 % of the weights, codes of 6 bits.
SETTINGS = [
    ((0.08, 0.09, 0.26), [6, 5, 4]),
    ((0.05, 0.1, 0.4), [4, 3, 2]),
    ((0.035, 0.08, 0.4), [4, 3, 2]),
    ((0.025, 0.06, 0.3), [4, 3, 2]),
]

# What an image may lose against the float network, in points, on the pictures held back.
TOLERANCE = 0.3
DEEP_COMPRESSION = {"ratio": 40, "reference_error": 1.64, "error": 1.58}


def settings(dataset: str) -> Iterator[Recipe]:
    """Every recipe to follow. Those that share a stage follow each other, which saves training."""
    base = load_recipe(RECIPES[dataset])
    for densities, widths in SETTINGS:
        for width in widths:
            yield dataclasses.replace(
                base,
                prune=dataclasses.replace(base.prune, densities=densities),
                share=dataclasses.replace(base.share, bits=(width,) * 3),
            )


def machine_inputs(network: Network, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The test pictures as any machine takes them, and their classes.

    Returns
    -------
    inputs : ndarray of int16, ``(pictures, network.inputs)``
    classes : ndarray of int64, ``(pictures,)``
    """
    inputs = quantise(dataset.test_x, network.input_radix, network.activation_width)
    return inputs.numpy().astype(np.int16), dataset.test_y.numpy()


def on_hardware(network: Network, dataset: Dataset, model: CompiledModel) -> dict[str, Any]:
    """Every test picture on the RTL, against the golden model.

    Raises
    ------
    MismatchError
        If a bit differs.
    """
    inputs, classes = machine_inputs(network, dataset)
    model.load(plan(network, model.configuration))
    start = time.perf_counter()
    run = model.run(inputs)
    seconds = time.perf_counter() - start
    golden = golden_run(network, torch.from_numpy(inputs))[-1][1].numpy()
    wrong = int((run.outputs != golden).any(axis=1).sum())
    if wrong:
        raise MismatchError(f"{wrong} of {len(inputs)} pictures differ between RTL and golden")
    return {
        "pictures": len(inputs),
        "equal": True,
        "accuracy": float((run.outputs.argmax(axis=1) == classes).mean()),
        "cycles_per_picture": run.cycles / len(inputs),
        "cycles_per_second": run.cycles / seconds,
    }


def measure(result: Compressed) -> dict[str, Any]:
    """A row of the table."""
    reference, image = result.stages[0].after, result.stages[-1].after
    assert reference.validation is not None
    assert image.validation is not None
    dense = result.stages[0].before.bytes
    return {
        "densities": result.recipe.prune.densities,
        "bits": result.recipe.share.bits,
        "nonzeros": [layer.nonzeros for layer in result.network.layers],
        "density": image.density,
        "bytes": image.bytes,
        "ratio": dense / image.bytes,
        "validation": image.validation,
        "validation_loss": 100 * (reference.validation - image.validation),
        "accuracy": image.accuracy,
        "loss": 100 * (reference.accuracy - image.accuracy),
        "accumulator_bits": [
            layer.accumulator_bits(result.network.activation_width)
            for layer in result.network.layers
        ],
        "stages": [dataclasses.asdict(stage) for stage in result.stages],
        "ledger": ledger(result.network)._asdict(),
    }


def run(dataset_name: str, work_dir: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Follow every setting.

    Parameters
    ----------
    dataset_name : str
        ``"mnist"`` or ``"fashion-mnist"``.
    work_dir : Path
        Folder for checkpoints and images.
    log : callable
        Told what is going on, a line at a time.

    Returns
    -------
    dict
        Everything that was measured, fit for JSON.
    """
    start = time.perf_counter()
    dataset = load_dataset(dataset_name)
    rows: list[dict[str, Any]] = []
    for recipe in settings(dataset_name):
        log(f"densities {recipe.prune.densities}, bits {recipe.share.bits}")
        result = compress(recipe, work_dir, dataset=dataset, report=_stage_ends(log))
        bits = "-".join(map(str, recipe.share.bits))
        image = f"{100 * result.stages[-1].after.density:.1f}%-{bits}bit.prunus"
        result.path.replace(work_dir / image)
        rows.append({"image": image, **measure(result)})

    device = "pe16"
    with CompiledModel(PRESETS[device]) as model:
        for row in rows:
            log(f"{row['image']} on {device}")
            row["rtl"] = on_hardware(load(work_dir / row["image"]), dataset, model)

    good = [row for row in rows if row["validation_loss"] <= TOLERANCE]
    reference = result.stages[0].after
    return {
        "dataset": dataset_name,
        "seed": result.recipe.seed,
        "torch": torch.__version__,
        "seconds": time.perf_counter() - start,
        "reference": dataclasses.asdict(reference),
        "tolerance": TOLERANCE,
        "device": device,
        "rows": rows,
        "best": min(good, key=lambda row: row["bytes"])["image"] if good else None,
        "deep_compression": DEEP_COMPRESSION,
    }


def _stage_ends(log: Callable[[str], None]) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if event.kind == "advance" and event.done % 10 == 0:
            log(f"  {event.stage}: epoch {event.done} of {event.total}, loss {event.loss:.4f}")
        if event.kind == "end" and event.measure is not None:
            validation = event.measure.validation
            log(
                f"  {event.stage}: {event.measure.bytes:,} bytes, "
                f"{100 * event.density:.2f} % dense, validation {100 * (validation or 0):.2f} %"
            )

    return report


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    reference, paper = document["reference"], document["deep_compression"]
    head = f"""\
LeNet-300-100 on {document["dataset"]}, seed {document["seed"]}, torch {document["torch"]}, \
{document["seconds"]:.0f} s
float32: {reference["bytes"]:,} bytes, validation {100 * reference["validation"]:.2f} %, \
test {100 * reference["accuracy"]:.2f} %

density  bits   bytes  smaller  validation   loss    test   loss   on RTL, cycles"""
    rows = [
        f"{100 * row['density']:6.2f} %  {row['bits'][0]:3}  {row['bytes']:6,}  "
        f"{row['ratio']:6.1f}x  {100 * row['validation']:8.2f} %  {row['validation_loss']:5.2f}"
        f"  {100 * row['accuracy']:5.2f} %  {row['loss']:5.2f}"
        f"  {100 * row['rtl']['accuracy']:5.2f} %  {row['rtl']['cycles_per_picture']:5.1f}"
        f"{'  best' if row['image'] == document['best'] else ''}"
        for row in document["rows"]
    ]
    foot = f"""
best: the smallest that loses at most {document["tolerance"]} points of validation
on RTL: all test pictures on {document["device"]}, every bit equal to the golden model's; cycles a \
picture
Deep Compression on mnist: {paper["ratio"]}x, error {paper["reference_error"]} % before and \
{paper["error"]} % after"""
    return "\n".join([head, *rows, foot])


def command(
    name: str,
    *,
    description: str,
    datasets: Iterable[str],
    default: str,
    run: Callable[[str, Path, Callable[[str], None]], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """The command line of a bench that trains; ``run`` measures, and ``table`` is for reading."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    parser.add_argument("--dataset", choices=datasets, default=default)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--work", type=Path, help="folder of the checkpoints and images")
    options = parser.parse_args()
    work_dir = options.work or Path("build", name, options.dataset)

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        document = run(options.dataset, work_dir, log)
    except PrunusError as error:
        sys.exit(f"{error}")
    print(json.dumps(document, indent=2) if options.json else table(document))


def main() -> None:
    command(
        "lenet",
        description=__doc__,
        datasets=sorted(RECIPES),
        default="mnist",
        run=run,
        table=table,
    )


if __name__ == "__main__":
    main()
