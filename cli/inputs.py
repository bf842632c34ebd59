"""The vectors that a verb runs a network on: from a file, a data set, the image, or made up."""

import functools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.verb import FILE, Real
from golden.errors import DataError
from golden.files import check_file
from golden.nets.sources import DATASETS

if TYPE_CHECKING:
    import numpy as np

    from golden.image import Network

__all__ = ["Inputs", "accuracy", "input_options", "read_inputs"]

_SEED = 1
_RANDOM = 16
_MOST = 1_000_000
_LARGEST = 1 << 30

Options = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Vectors for a network.

    Attributes
    ----------
    vectors : ndarray of int16, ``(n, network.inputs)``
    labels : ndarray of int64, ``(n,)``, or None
        Their classes, where they are known.
    answers : ndarray of int16, ``(n, network.outputs)``, or None
        Their answers, where they are known.
    source : str
        Where they come from, in words.
    """

    vectors: "np.ndarray"
    source: str
    labels: "np.ndarray | None" = None
    answers: "np.ndarray | None" = None

    def __len__(self) -> int:
        return len(self.vectors)


def input_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that :func:`read_inputs` understands, as ``inputs``."""
    names = ("input_file", "dataset", "random", "density", "seed", "limit")

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> None:
        function(*args, inputs={name: values.pop(name) for name in names}, **values)

    for option in reversed(
        [
            click.option(
                "--input",
                "input_file",
                type=FILE,
                metavar="FILE.npy",
                help="Vectors, one a row: integers as they are, or real numbers to be quantised.",
            ),
            click.option(
                "--dataset", type=click.Choice(DATASETS), help="The test pictures of a data set."
            ),
            click.option(
                "--random",
                type=click.IntRange(1, _MOST),
                metavar="N",
                help="So many random vectors.",
            ),
            click.option(
                "--density",
                type=Real(0, 1),
                default=0.3,
                show_default=True,
                help="Share of random vectors that is not zero.",
            ),
            click.option(
                "--seed",
                type=click.IntRange(0, 2**31 - 1),
                default=_SEED,
                show_default=True,
                help="Of random vectors.",
            ),
            click.option(
                "--limit", type=click.IntRange(1), metavar="N", help="Take the first N vectors."
            ),
        ]
    ):
        call = option(call)
    return call


def read_inputs(network: "Network", options: Options) -> Inputs:
    """What the options of :func:`input_options` ask for.

    If they name no source, it is the known answers in the image, or else random vectors.

    Raises
    ------
    click.UsageError
        If they name more than one source.
    DataError
        If there is no such source, or it does not fit the network.
    """
    sources = ("input_file", "dataset", "random")
    given = [name for name in sources if options[name] is not None]
    if len(given) > 1:
        names = ["--input" if name == "input_file" else f"--{name}" for name in given]
        raise click.UsageError(f"{' and '.join(names)} cannot both be given")
    if options["input_file"] is not None:
        inputs = _from_file(network, options["input_file"])
    elif options["dataset"] is not None:
        inputs = _from_dataset(network, options["dataset"])
    elif options["random"] is None and network.known_inputs is not None:
        inputs = Inputs(
            network.known_inputs, "known answers of the image", answers=network.known_outputs
        )
    else:
        inputs = _random(network, options["random"] or _RANDOM, options)
    limit = options["limit"]
    return Inputs(
        inputs.vectors[:limit],
        inputs.source,
        None if inputs.labels is None else inputs.labels[:limit],
        None if inputs.answers is None else inputs.answers[:limit],
    )


def accuracy(outputs: "np.ndarray", labels: "np.ndarray | None") -> float | None:
    """Share of the vectors whose highest output, the first of several, is their class."""
    if labels is None:
        return None
    return float((outputs.argmax(axis=1) == labels).mean())


def _from_file(network: "Network", path: Path) -> Inputs:
    import numpy as np

    check_file(path, _LARGEST)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: must be a file that numpy.save wrote: {error}") from error
    if not isinstance(vectors, np.ndarray):
        raise DataError(f"{path}: must be one array (.npy), not an archive")
    shape = vectors.shape
    vectors = np.atleast_2d(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != network.inputs or len(vectors) == 0:
        raise DataError(
            f"{path}: must be of shape (n, {network.inputs}) for network {network.name!r}, "
            f"not {shape}"
        )
    if vectors.dtype.kind == "f":
        # What is too large for it becomes infinite.
        with np.errstate(over="ignore"):
            vectors = vectors.astype(np.float64)
        if not np.isfinite(vectors).all():
            raise DataError(f"{path}: must be finite, as float64")
        return Inputs(_quantised(network, vectors), str(path))
    if vectors.dtype.kind not in "iu":
        raise DataError(f"{path}: must hold integers or real numbers, not {vectors.dtype}")
    high = 2 ** (network.activation_width - 1) - 1
    low, most = int(vectors.min()), int(vectors.max())
    if low < -high - 1 or most > high:
        raise DataError(f"{path}: must lie within {-high - 1} to {high}, not {low} to {most}")
    return Inputs(vectors.astype(np.int16), str(path))


def _from_dataset(network: "Network", name: str) -> Inputs:
    from golden.nets.data import load_dataset

    data = load_dataset(name)
    vectors, labels = data.test_x.numpy(), data.test_y.numpy()
    if vectors.shape[1] != network.inputs:
        raise DataError(
            f"data set {name!r} has {vectors.shape[1]} pixels a picture, but network "
            f"{network.name!r} takes {network.inputs} inputs"
        )
    return Inputs(_quantised(network, vectors), f"test pictures of {name}", labels)


def _quantised(network: "Network", real: "np.ndarray") -> "np.ndarray":
    import numpy as np
    import torch

    from golden.fixed import quantise

    # A data set's pictures are float32, which float64 holds exactly.
    tensor = torch.from_numpy(np.ascontiguousarray(real, np.float64))
    vectors = quantise(tensor, network.input_radix, network.activation_width).numpy()
    return vectors.astype(np.int16)


def _random(network: "Network", count: int, options: Options) -> Inputs:
    import numpy as np

    rng = np.random.default_rng(options["seed"])
    high = 2 ** (network.activation_width - 1)
    shape = count, network.inputs
    vectors = rng.integers(-high, high, shape, dtype=np.int16)
    vectors[rng.random(shape) >= options["density"]] = 0
    return Inputs(
        vectors,
        f"random vectors, density {options['density']:g}, seed {options['seed']}",
    )
