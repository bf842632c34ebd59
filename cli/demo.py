"""``prunus demo``: everything, on a small network."""

import contextlib
from pathlib import Path
from typing import Any

import click

from cli.compare import Trace, difference, shown
from cli.compress import show_stages, stages_document, telling
from cli.explain import device_document, plan_or_say_why
from cli.info import show_ledger
from cli.inputs import read_inputs
from cli.output import Output, percent, to_json
from cli.simulate import CLOCK, MACHINE_DEPENDENT, build, show_layers, simulate
from cli.verb import FILE, verb
from cli.verilog import write_verilog
from golden.errors import DataError, MismatchError
from golden.files import write_whole

__all__ = ["command"]

_RECIPE = "digits"
_DEVICE = "pe16"


@verb(
    examples=["prunus demo", "prunus demo --output /tmp/demo --clock 100"],
    codes={
        1: "the hardware's outputs are not the golden model's",
        3: "a tool or package is missing; see prunus doctor",
        5: "the simulated device does not answer",
    },
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=FILE,
    default="prunus-demo",
    show_default=True,
    metavar="DIR",
    help="Folder for all that is made. Made if it does not exist.",
)
@CLOCK
def command(output: Output, folder: Path, clock: float) -> None:
    """Train, compress and simulate a small network, all in one.

    Trains a network on the handwritten digits that come with scikit-learn, compresses it, runs all
    400 test pictures on the simulated hardware, and holds every activation against the golden
    model. Writes the compressed network, the Verilog, all figures as JSON, and pictures. Takes two
    minutes or so; no download, no board.
    """
    from cli.device import find_device
    from cli.plots import draw
    from golden.compress.pipeline import compress
    from golden.compress.recipe import load_recipe
    from sim.toolchain import require

    # What is missing is said now, not after the training.
    for program in "verilator", "g++":
        require(program)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder")
    image = folder / f"{_RECIPE}.prunus"
    with telling(output) as report:
        result = compress(load_recipe(_RECIPE), folder / "work", report=report)
    write_whole({image: result.path.read_bytes()})
    compression = stages_document(result, image)

    configuration = find_device(_DEVICE)
    network = result.network
    plan = plan_or_say_why(network, configuration)
    with output.waiting("writing Verilog"):
        verilog = write_verilog(_DEVICE, configuration, folder / "prunus.v")
    options = dict.fromkeys(("input_file", "random", "limit"))
    given = read_inputs(network, {**options, "dataset": _RECIPE})
    with build(output, plan) as model:
        simulation, run, layers = simulate(output, model, plan, given, clock, taps=True)
    simulation["device"] = device_document(_DEVICE, configuration)
    right = [layer.outputs for layer in layers]
    found = difference(network, plan, ("golden", Trace(right)), ("rtl", shown(plan, run)))
    if found is not None:
        raise MismatchError(str(found))
    compared = sum(layer.size for layer in right)

    with output.waiting("drawing"):
        pictures = draw(compression, simulation, folder)
    files = [image, verilog["verilog"], verilog["description"], *pictures, folder / "demo.json"]
    document: dict[str, Any] = {
        "compression": compression,
        "simulation": simulation,
        "activations_compared": compared,
        "files": files,
    }
    # What depends on the machine that simulates is not for the file: it is always the same.
    lasting = {key: value for key, value in simulation.items() if key not in MACHINE_DEPENDENT}
    write_whole({files[-1]: to_json({**document, "simulation": lasting}) + "\n"})
    if output.emit(document):
        return
    show_stages(output, compression)
    show_ledger(output, compression["ledger"])
    show_layers(output, simulation)
    _show_summary(output, document)
    output.say("Written:", *(f"  {path}" for path in files))


def _show_summary(output: Output, document: dict[str, Any]) -> None:
    compression, simulation = document["compression"], document["simulation"]
    rows = [
        ("accuracy of the float network", percent(compression["reference_accuracy"])),
        ("accuracy of the compressed network", percent(compression["accuracy"])),
        ("accuracy of the simulated hardware", percent(simulation["accuracy"])),
        ("test pictures", simulation["inputs"]["vectors"]),
        ("activations compared, all equal", document["activations_compared"]),
        ("bytes as float32", compression["stages"][0]["before"]["bytes"]),
        ("bytes compressed, file and all", compression["bytes"]),
        ("compression", f"{compression['compression']:.1f}x"),
        ("cycles per picture", simulation["cycles_per_vector"]),
        ("clock, assumed", f"{simulation['clock_mhz']:g} MHz"),
        ("pictures per second at that clock", round(simulation["images_per_second"])),
    ]
    output.table("Summary", ["figure", "value"], rows)
