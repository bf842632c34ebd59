"""``prunus compress``: a compressed network from a recipe, or from one published compressed."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.info import ledger_document, show_ledger
from cli.output import Output, check_apart, check_target, percent
from cli.verb import FILE, verb
from golden.errors import DataError
from golden.files import write_whole
from golden.recipes import bundled_recipes

if TYPE_CHECKING:
    from golden.compress.pipeline import Compressed
    from golden.compress.report import Event, Measure, Report

__all__ = ["command", "show_stages", "stage_rows", "stages_document", "telling"]


@verb(
    examples=[
        "prunus compress digits",
        "prunus compress lenet_300_100 -o lenet.prunus --work /tmp/lenet",
        "prunus compress my.toml --weights trained.safetensors",
        "prunus compress compressed_SqueezeNet.net -o squeezenet.prunus",
    ],
    codes={3: "torch is missing", 4: "the recipe's accumulator is too narrow"},
)
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "-o",
    "--output",
    "target",
    type=FILE,
    metavar="FILE",
    help="Where the image is to be.  [default: RECIPE.prunus]",
)
@click.option(
    "--work",
    type=FILE,
    metavar="DIR",
    help="Folder for checkpoints.  [default: the image's path with .work]",
)
@click.option("--no-resume", is_flag=True, help="Start afresh, whatever checkpoints there are.")
@click.option(
    "--weights",
    type=FILE,
    metavar="FILE",
    help="Start from a trained network (safetensors) in place of training one.",
)
@click.option(
    "--activations",
    type=click.Choice(["8", "16"]),
    help="Bits of an activation, only with a .net: a recipe has them.  [default: 16]",
)
def command(
    output: Output,
    recipe: str,
    target: Path | None,
    work: Path | None,
    no_resume: bool,
    weights: Path | None,
    activations: str | None,
) -> None:
    """Make a compressed network from a recipe.

    RECIPE is a TOML file, or the name of a built-in one: {recipes}.

    Trains, prunes, shares the weights, fine-tunes them, and goes over to fixed point. A run that
    was interrupted goes on where it was, if the same command is given again.

    RECIPE may also be the SqueezeNet that the authors of Deep Compression have published, a file
    that ends with .net. It only goes over to fixed point, by photographs of scikit-image.
    """
    options = {"--work": work, "--no-resume": no_resume, "--weights": weights}
    if recipe.endswith(".net"):
        for name, value in options.items():
            if value:
                raise click.UsageError(f"{name} goes with a recipe, not with a .net")
        _published(output, Path(recipe), target, int(activations or 16))
        return
    if activations is not None:
        raise click.UsageError("--activations goes with a .net; a recipe has activation_width")
    from golden.compress.pipeline import compress
    from golden.compress.recipe import load_recipe
    from golden.compress.weights import load_weights

    steps = load_recipe(recipe)
    target = check_target(target or Path(f"{Path(recipe).stem}.prunus"), "image")
    work = work or target.with_suffix(".work")
    check_apart([target], [None if recipe in bundled_recipes() else Path(recipe), weights])
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(work)):
        raise DataError(f"{target}: must not be in {work}, the folder for checkpoints")
    brought = None if weights is None else load_weights(weights, steps.network.layers)
    with telling(output) as report:
        result = compress(
            steps,
            work,
            weights=brought,
            report=report,
            resume=not no_resume,
        )
    write_whole({target: result.path.read_bytes()})
    document = stages_document(result, target)
    if output.emit(document):
        return
    show_stages(output, document)
    show_ledger(output, document["ledger"])
    output.say(f"wrote {target}")


def _published(output: Output, source: Path, target: Path | None, width: int) -> None:
    """An image of a network published by the authors of Deep Compression."""
    from golden.image import digest, save
    from golden.importers.han import convert_published, read
    from golden.nets.photographs import CALIBRATION, photographs
    from golden.nets.squeezenet import SIDE

    target = check_target(target or Path(f"{source.stem}.prunus"), "image")
    check_apart([target], [source])
    published = read(source)
    with output.waiting("radix points"):
        pictures = photographs(CALIBRATION, SIDE)
        network = convert_published(published, pictures, name=source.stem, activation_width=width)
    save(network, target)
    ledger = ledger_document(network)
    dense = 4 * sum(parameter.numel() for parameter in published.module.parameters())
    document: dict[str, Any] = {
        "source": source,
        "image": target,
        "digest": digest(network),
        "activation_width": width,
        "published_bytes": published.size,
        "bytes": ledger["total"],
        "dense_bytes": dense,
        "compression": dense / ledger["total"],
        "ledger": ledger,
    }
    if output.emit(document):
        return
    show_ledger(output, ledger)
    output.say(
        f"{ledger['total']:,} bytes, {document['compression']:.1f} times less than the {dense:,} "
        f"of float32; {source.name} has {published.size:,}",
        f"wrote {target}",
    )


assert command.help is not None
command.help = command.help.format(recipes=", ".join(bundled_recipes()))


@contextlib.contextmanager
def telling(output: Output) -> "Iterator[Report]":
    """A report for :func:`golden.compress.pipeline.compress`: a bar for each stage, and a line."""
    with contextlib.ExitStack() as bar:
        try:
            yield _Teller(output, bar).tell
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from here") from None


class _Teller:
    def __init__(self, output: Output, bar: contextlib.ExitStack) -> None:
        self.output = output
        self.bar = bar
        self.advance: Callable[[int], None]

    def tell(self, event: "Event") -> None:
        if event.kind == "start":
            self.advance = self.bar.enter_context(self.output.progress(event.stage, event.total))
        if event.kind != "end":
            self.advance(event.done)
            return
        self.bar.close()
        assert event.measure is not None
        self.output.log(
            f"{event.stage}: accuracy {percent(event.measure.accuracy)}, "
            f"density {percent(event.density)}, {event.measure.bytes:,} bytes"
        )


def stages_document(result: "Compressed", target: Path) -> dict[str, Any]:
    """What a compression has led to, as JSON has it."""
    from golden.image import digest

    dense = result.stages[0].before.bytes

    def measure(found: "Measure") -> dict[str, Any]:
        return {
            "accuracy": found.accuracy,
            "validation": found.validation,
            "density": found.density,
            "bytes": found.bytes,
            "compression": dense / found.bytes,
        }

    return {
        "recipe": result.recipe.name,
        "dataset": result.recipe.dataset,
        "image": target,
        "digest": digest(result.network),
        "reference_accuracy": result.reference_accuracy,
        **measure(result.stages[-1].after),
        "stages": [
            {"name": stage.name, "before": measure(stage.before), "after": measure(stage.after)}
            for stage in result.stages
        ],
        "ledger": ledger_document(result.network),
    }


def stage_rows(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and measure of each stage. A network that was brought along comes first."""
    stages = document["stages"]
    given = [] if stages[0]["name"] == "train" else [("given", stages[0]["before"])]
    return given + [(stage["name"], stage["after"]) for stage in stages]


def show_stages(output: Output, document: dict[str, Any]) -> None:
    """The stages as a table; see :func:`stages_document`."""
    rows = stage_rows(document)
    validated = any(measure["validation"] is not None for _, measure in rows)
    columns = ["after", "accuracy", "validation", "density", "bytes", "compression"]
    cells = [
        [
            name,
            percent(measure["accuracy"]),
            percent(measure["validation"]) if validated else "",
            percent(measure["density"]),
            measure["bytes"],
            f"{measure['compression']:.1f}x",
        ]
        for name, measure in rows
    ]
    if not validated:
        columns.remove("validation")
        cells = [[*row[:2], *row[3:]] for row in cells]
    output.table(f"Stages of {document['recipe']} on {document['dataset']}", columns, cells)
