"""``prunus demo``: everything, on two small networks."""

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

# Recipes, and the device for each: convolutions take one with feature maps.
_NETWORKS = {"digits": "pe16", "digits_cnn": "cnn16"}


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
    """Train, compress and simulate two small networks, all in one.

    Trains a fully connected network and a convolutional one on the handwritten digits that come
    with scikit-learn, compresses them, runs all 400 test pictures on the simulated hardware, and
    holds every activation against the golden model. Writes the compressed networks, the Verilog,
    all figures as JSON, and pictures. Takes two minutes or so; no download, no board.
    """
    from cli.plots import draw
    from sim.toolchain import require

    # What is missing is said now, not after the training.
    for program in "verilator", "g++":
        require(program)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder")
    networks, files = [], []
    for recipe, device in _NETWORKS.items():
        own = folder / recipe
        own.mkdir(exist_ok=True)
        output.log(f"{recipe}, for {device}")
        network, written = _run(output, recipe, device, own, clock)
        with output.waiting("drawing"):
            pictures = draw(network["compression"], network["simulation"], own)
        networks.append(network)
        files += [*written, *pictures]
    files.append(folder / "demo.json")
    # What depends on the machine that simulates is not for the file: it is always the same.
    lasting = [{**network, "simulation": _lasting(network["simulation"])} for network in networks]
    write_whole({files[-1]: to_json({"networks": lasting, "files": files}) + "\n"})
    if output.emit({"networks": networks, "files": files}):
        return
    for network in networks:
        compression, simulation = network["compression"], network["simulation"]
        output.say(f"{compression['recipe']} on {simulation['device']['name']}", "")
        show_stages(output, compression)
        show_ledger(output, compression["ledger"])
        show_layers(output, simulation)
    _show_summary(output, networks)
    output.say("Written:", *(f"  {path}" for path in files))


def _run(
    output: Output, recipe: str, device: str, folder: Path, clock: float
) -> tuple[dict[str, Any], list[Path]]:
    """One network through everything: what is found, and the files that are written."""
    from cli.device import find_device
    from golden.compress.pipeline import compress
    from golden.compress.recipe import load_recipe

    image = folder / f"{recipe}.prunus"
    with telling(output) as report:
        result = compress(load_recipe(recipe), folder / "work", report=report)
    write_whole({image: result.path.read_bytes()})

    configuration = find_device(device)
    network = result.network
    plan = plan_or_say_why(network, configuration)
    options = dict.fromkeys(("input_file", "random", "limit"))
    given = read_inputs(network, {**options, "dataset": result.recipe.dataset})
    with build(output, plan) as model:
        simulation, run, layers = simulate(output, model, plan, given, clock, taps=True)
    simulation["device"] = device_document(device, configuration)
    right, rtl = Trace([layer.outputs for layer in layers]), shown(plan, run)
    found = difference(network, plan, ("golden", right), ("rtl", rtl))
    if found is not None:
        raise MismatchError(str(found))
    with output.waiting("writing Verilog"):
        verilog = write_verilog(device, configuration, folder / "prunus.v")
    document = {
        "compression": stages_document(result, image),
        "simulation": simulation,
        "activations_compared": sum(layer.size for layer in rtl.layers if layer is not None),
    }
    return document, [image, verilog["verilog"], verilog["description"]]


def _lasting(simulation: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in simulation.items() if key not in MACHINE_DEPENDENT}


def _show_summary(output: Output, networks: list[dict[str, Any]]) -> None:
    columns = [_figures(**network) for network in networks]
    output.table(
        "Summary",
        ["figure", *(network["compression"]["recipe"] for network in networks)],
        [(name, *(figures[name] for figures in columns)) for name in columns[0]],
    )


def _figures(
    compression: dict[str, Any], simulation: dict[str, Any], activations_compared: int
) -> dict[str, Any]:
    return {
        "accuracy of the float network": percent(compression["reference_accuracy"]),
        "accuracy of the compressed network": percent(compression["accuracy"]),
        "accuracy of the simulated hardware": percent(simulation["accuracy"]),
        "test pictures": simulation["inputs"]["vectors"],
        "activations compared, all equal": activations_compared,
        "bytes as float32": compression["stages"][0]["before"]["bytes"],
        "bytes compressed, file and all": compression["bytes"],
        "compression": f"{compression['compression']:.1f}x",
        "cycles per picture": simulation["cycles_per_vector"],
        "clock, assumed": f"{simulation['clock_mhz']:g} MHz",
        "pictures per second at that clock": round(simulation["images_per_second"]),
    }
