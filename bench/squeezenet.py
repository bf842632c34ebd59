"""The published Deep-Compression SqueezeNet as an image: how small, and what does it see?

    python -m bench.squeezenet [FILE.net] [--json]

The file is brought into images with activations of 16 and of 8 bits; see
:mod:`golden.importers.han`. Radix points come from photographs of scikit-image. Two others are
judged, by PyTorch's floats and by the integers of the golden model: the class that each finds, and
its probability. By default the file is looked for where this repository's neighbour has it.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from golden.errors import PrunusError
from golden.fixed import quantise
from golden.image import Network, ledger
from golden.importers.han import convert_published, read
from golden.nets.photographs import CALIBRATION, photographs
from golden.nets.squeezenet import SIDE
from golden.network import answers

FILE = Path(__file__).parents[2] / "shared/data/squeezenet/compressed_SqueezeNet.net"
# Photographs, and their classes among ImageNet's: a cat, a cup of espresso.
CLASSES = {"chelsea": 285, "coffee": 967}


def scores(network: Network, pictures: torch.Tensor) -> torch.Tensor:
    """What the golden model makes of pictures ``(n, channels, height, width)``, as real numbers."""
    inputs = pictures.movedim(1, 3).flatten(1)
    taken = quantise(inputs, network.input_radix, network.activation_width)
    return answers(network, taken).double() / 2.0 ** network.radixes[-1]


def seen(outputs: torch.Tensor) -> dict[str, dict[str, float]]:
    """For each photograph, the class found and its probability."""
    best = outputs.softmax(dim=1).max(dim=1)
    found = zip(CLASSES, best.indices.tolist(), best.values.tolist(), strict=True)
    return {name: {"class": index, "probability": value} for name, index, value in found}


def run(path: Path) -> dict[str, Any]:
    """Everything that was measured, fit for JSON."""
    start = time.perf_counter()
    published = read(path)
    calibration, pictures = photographs(CALIBRATION, SIDE), photographs(list(CLASSES), SIDE)
    with torch.no_grad():
        rows = [{"arithmetic": "float32", "bytes": None, "seen": seen(published.module(pictures))}]
    for width in 16, 8:
        network = convert_published(
            published, calibration, name="squeezenet", activation_width=width
        )
        rows.append(
            {
                "arithmetic": f"golden, {width} bits",
                "bytes": ledger(network).total,
                "seen": seen(scores(network, pictures)),
            }
        )
    return {
        "file": str(path),
        "published_bytes": published.size,
        "dense_bytes": 4 * sum(one.numel() for one in published.module.parameters()),
        "classes": CLASSES,
        "rows": rows,
        "seconds": time.perf_counter() - start,
    }


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    lines = [
        "{file}: {published_bytes:,} bytes; as float32 {dense_bytes:,}".format(**document),
        "",
        f"{'':16}{'bytes':>9}" + "".join(f"  {name:>14}" for name in document["classes"]),
    ]
    for row in document["rows"]:
        size = "" if row["bytes"] is None else f"{row['bytes']:,}"
        cells = [f"{one['class']} ({one['probability']:.3f})" for one in row["seen"].values()]
        lines.append(f"{row['arithmetic']:16}{size:>9}" + "".join(f"  {x:>14}" for x in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.squeezenet", description=__doc__.splitlines()[0]
    )
    parser.add_argument("file", nargs="?", type=Path, default=FILE, metavar="FILE.net")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        document = run(options.file)
    except (OSError, PrunusError) as error:
        sys.exit(f"{error}")
    print(json.dumps(document, indent=2) if options.json else table(document))


if __name__ == "__main__":
    main()
