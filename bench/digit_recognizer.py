"""A trained convolutional network of PyPI, compressed as it is: how small, and what does that cost?

    python -m bench.digit_recognizer WHEEL [--activations 8|16] [--weights BITS]
                                           [--json] [--work FOLDER]

The network is that of ``digit-recognizer-py`` 0.1.0, three convolutions and two fully connected
layers for MNIST; ``pip download --no-deps digit-recognizer-py==0.1.0`` gets the wheel. Nothing is
trained. Layers are pruned as far as each can be without much loss, see
:mod:`golden.compress.post_training`; then weights are shared, and radix points chosen, all by
training pictures. Others, held back, choose between the settings. The golden model judges each
image by all 10,000 test pictures.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from golden.compress.convert import convert
from golden.compress.model import Model, accuracy, image_accuracy
from golden.compress.post_training import DENSITIES, choose, prune, sensitivity
from golden.errors import PrunusError
from golden.image import save
from golden.nets.data import load_dataset
from golden.nets.digit_recognizer import load_digit_recognizer

# Nats that pruning may cost, and bits of a code.
SETTINGS = [(0.002, 6), (0.002, 5), (0.005, 5)]
# What an image may lose on the pictures held back, in points.
TOLERANCE = 0.3
# Training pictures to prune by, to choose radix points by, and held back.
PRUNED_BY, CALIBRATED_BY, HELD_BACK = 1000, 200, 5000


def run(
    wheel: Path,
    work_dir: Path,
    activation_width: int,
    weight_width: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Follow every setting; everything measured, fit for JSON."""
    start = time.perf_counter()
    data = load_dataset("mnist")
    x, y = data.train_x[:-HELD_BACK], data.train_y[:-HELD_BACK]
    held_back = data.train_x[-HELD_BACK:], data.train_y[-HELD_BACK:]
    whole = Model(load_digit_recognizer(wheel), (1, 28, 28))
    log("float32")
    reference = {
        "accuracy": accuracy(whole, data.test_x, data.test_y),
        "validation": accuracy(whole, *held_back),
        "bytes": 4 * sum(one.numel() for one in whole.module.parameters()),
    }
    log("sensitivity of layers")
    gains = sensitivity(whole, x[:PRUNED_BY], y[:PRUNED_BY], DENSITIES)
    sizes = [weights.numel() for weights in whole.weights]
    work_dir.mkdir(parents=True, exist_ok=True)
    rows = []
    for budget, bits in SETTINGS:
        log(f"budget {budget}, {bits} bits")
        model = copy.deepcopy(whole)
        densities = choose(gains, sizes, DENSITIES, budget)
        prune(model, densities)
        network = convert(
            model.module,
            model.inputs(x[:CALIBRATED_BY]),
            name="digit-recognizer",
            bits=bits,
            activation_width=activation_width,
            weight_width=weight_width,
        )
        image = work_dir / f"{budget}-{bits}bit-{activation_width}.prunus"
        save(network, image)
        rows.append(
            {
                "image": image.name,
                "budget": budget,
                "bits": bits,
                "densities": dict(zip(model.layers, densities, strict=True)),
                "density": model.density,
                "bytes": image.stat().st_size,
                "ratio": reference["bytes"] / image.stat().st_size,
                "validation": image_accuracy(network, *held_back),
                "accuracy": image_accuracy(network, data.test_x, data.test_y),
            }
        )
    good = [row for row in rows if 100 * (reference["validation"] - row["validation"]) <= TOLERANCE]
    return {
        "activation_width": activation_width,
        "weight_width": weight_width,
        "pictures": len(data.test_y),
        "torch": torch.__version__,
        "reference": reference,
        "tolerance": TOLERANCE,
        "rows": rows,
        "best": min(good, key=lambda row: row["bytes"])["image"] if good else None,
        "seconds": time.perf_counter() - start,
    }


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    reference = document["reference"]
    head = """\
digit-recognizer-py on {pictures:,} pictures of MNIST, activations of {activation_width} bits, \
weights of {weight_width}; {seconds:.0f} s""".format(**document)
    floats = f"""\
float32: {reference["bytes"]:,} bytes, validation {100 * reference["validation"]:.2f} %, \
test {100 * reference["accuracy"]:.2f} %"""
    lines = [head, floats, "", "budget  bits  density   bytes  smaller  validation     test"]
    for row in document["rows"]:
        lines.append(
            f"{row['budget']:6}  {row['bits']:4}  {100 * row['density']:5.1f} %  {row['bytes']:6,}"
            f"  {row['ratio']:6.1f}x  {100 * row['validation']:8.2f} %  "
            f"{100 * row['accuracy']:5.2f} %{'  best' if row['image'] == document['best'] else ''}"
        )
    lines += [
        "",
        f"best: the smallest that loses at most {document['tolerance']} points of validation",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.digit_recognizer", description=__doc__.splitlines()[0]
    )
    parser.add_argument("wheel", type=Path, metavar="WHEEL")
    parser.add_argument("--activations", type=int, choices=(8, 16), default=16)
    parser.add_argument("--weights", type=int, choices=range(8, 17), default=16, metavar="BITS")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--work", type=Path, default=Path("build/digit_recognizer"))
    options = parser.parse_args()

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        document = run(options.wheel, options.work, options.activations, options.weights, log)
    except (OSError, PrunusError) as error:
        sys.exit(f"{error}")
    print(json.dumps(document, indent=2) if options.json else table(document))


if __name__ == "__main__":
    main()
