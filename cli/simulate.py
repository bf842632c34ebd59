"""``prunus simulate``: a compressed network on the simulated hardware."""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.explain import device_document, plan_or_say_why
from cli.inputs import Inputs, Options, accuracy, input_options, read_inputs
from cli.output import Output, check_apart, check_target, percent
from cli.runs import predict_run, run_golden
from cli.verb import DEVICE, FILE, IMAGE, Real, verb
from golden.errors import MismatchError, ToolError
from golden.files import write_whole

if TYPE_CHECKING:
    from cli.runs import Golden
    from mapping import Plan
    from sim.compiled import CompiledModel, Run

__all__ = ["CLOCK", "MACHINE_DEPENDENT", "build", "command", "show_layers", "simulate"]

# Figures that are not the same every time.
MACHINE_DEPENDENT = ("simulation_seconds", "cycles_per_second")

CLOCK = click.option(
    "--clock",
    type=Real(0, 1e6, min_open=True),
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock to state images per second for. An assumption: nothing is measured for it.",
)


@verb(
    examples=[
        "prunus simulate digits.prunus --dataset digits --limit 100",
        "prunus simulate digits.prunus --device pe4 --input x.npy -o y.npy",
        "prunus simulate digits.prunus --random 1 --waves waves.vcd",
    ],
    codes={
        1: "the hardware's outputs are not the golden model's; see prunus compare",
        3: "a tool or package is missing; see prunus doctor",
        4: "the network does not fit the device",
        5: "the simulated device does not answer",
    },
)
@IMAGE
@DEVICE
@input_options
@CLOCK
@click.option(
    "--waves",
    type=FILE,
    metavar="FILE.vcd",
    help="Write a trace of all signals, and beside it a save file for GTKWave, as .gtkw.",
)
@click.option("-o", "--output", "answers", type=FILE, metavar="FILE.npy", help="Write the outputs.")
def command(
    output: Output,
    image: Path,
    device: str,
    inputs: Options,
    clock: float,
    waves: Path | None,
    answers: Path | None,
) -> None:
    """Run a compressed network on the simulated hardware.

    The device is turned into Verilog and compiled, which takes a minute the first time and is kept
    for the next. All that it says is counted by the hardware itself, cycle by cycle; beside it
    stands what was predicted. The outputs are held against the golden model.

    For each layer, with vectors one at a time: cycles per vector; "ideal", the products of two
    non-zeros over the elements; the products; and cycles that elements lost to padding, summed over
    the elements. Images per second are of vectors sent back to back.
    """
    from cli.device import device_file, find_device
    from golden.image import digest, load

    beside = waves and check_target(check_target(waves).with_suffix(".gtkw"))
    if answers is not None:
        check_target(answers)
    check_apart([waves, beside, answers], [image, device_file(device), inputs["input_file"]])
    configuration = find_device(device)
    network = load(image)
    plan = plan_or_say_why(network, configuration)
    given = read_inputs(network, inputs)
    document: dict[str, Any] = {
        "image": image,
        "digest": digest(network),
        "device": device_document(device, configuration),
    }
    with build(output, plan, waves=waves) as model:
        found, run, _ = simulate(output, model, plan, given, clock)
    document.update(found)
    if answers is not None:
        import numpy as np

        buffer = io.BytesIO()
        np.save(buffer, run.outputs)
        write_whole({answers: buffer.getvalue()})
    document.update(output=answers, waves=waves)
    if output.emit(document):
        return
    _show(output, network.name, document)
    for path in waves, beside, answers:
        if path is not None:
            output.say(f"wrote {path}")


def build(output: Output, plan: "Plan", *, waves: Path | None = None) -> "CompiledModel":
    """The compiled model of the plan's device."""
    from hdl.verilog import YosysError
    from sim.compiled import CompiledModel

    with output.waiting("building the model of the hardware (a minute, if it is not there yet)"):
        try:
            return CompiledModel(plan.configuration, waves=waves)
        except YosysError as error:
            raise ToolError(str(error)) from error


def simulate(
    output: Output,
    model: "CompiledModel",
    plan: "Plan",
    given: Inputs,
    clock: float,
    *,
    taps: bool = False,
) -> "tuple[dict[str, Any], Run, list[Golden]]":
    """What the hardware makes of ``given``, and the golden model.

    Parameters
    ----------
    output : Output
        Told the progress.
    model : CompiledModel
        Of the plan's device; loaded here.
    plan : Plan
        The network on the device.
    given : Inputs
        The vectors.
    clock : float
        In MHz, for images per second.
    taps : bool
        Whether to watch the activations of every layer.

    Returns
    -------
    document : dict
        For JSON.
    run : Run
        Of the vectors one at a time.
    golden : list of Golden

    Raises
    ------
    MismatchError
        If the outputs are not those of the golden model.
    """
    import numpy as np

    golden = run_golden(plan.network, given.vectors, output)
    predicted = predict_run(plan, given.vectors, golden, output)
    model.load(plan)
    begin = time.perf_counter()
    with output.progress("simulation, one at a time", len(given)) as advance:
        run = model.run(given.vectors, ahead=1, taps=taps, progress=advance)
    report = model.report()
    with output.progress("simulation, back to back", len(given)) as advance:
        stream = model.run(given.vectors, progress=advance)
    seconds = time.perf_counter() - begin
    answers = np.stack([run.outputs, stream.outputs])
    wrong = (answers != golden[-1].outputs).any(axis=(0, 2))
    if wrong.any():
        raise MismatchError(
            f"{np.count_nonzero(wrong)} of {len(given)} outputs of the hardware are not those of "
            f"the golden model, the first is of vector {int(wrong.argmax())}; "
            "'prunus compare' says where they differ"
        )

    elements = plan.configuration.elements
    escapes = {number: one.padding for number, one in zip(plan.numbers, plan.layers, strict=True)}
    engines = {one.layer: one.work.name.lower() for one in plan.stages}
    layers = [
        {
            "name": plan.network.layers[number].name,
            "engine": engines.get(number, "sparse"),
            "cycles": report.cycles[index] / len(given),
            "ideal_cycles": float(predicted.useful[:, index].mean()) / elements,
            "macs": float(predicted.useful[:, index].mean()),
            "padding": float(predicted.padding[:, index].mean()),
            "predicted_cycles": float(predicted.cycles[:, index].mean()),
            "padding_entries": escapes.get(number, 0),
        }
        for index, number in enumerate(plan.shown)
    ]
    names = ("cycles", "ideal_cycles", "macs", "padding", "predicted_cycles", "padding_entries")
    per_vector = stream.cycles / len(given)
    cycles = run.cycles + stream.cycles
    document: dict[str, Any] = {
        "inputs": {"source": given.source, "vectors": len(given)},
        "layers": layers,
        "total": {name: sum(layer[name] for layer in layers) for name in names},
        "cycles_run": stream.cycles,
        "cycles_per_vector": per_vector,
        "simulation_cycles": cycles,
        "simulation_seconds": seconds,
        "cycles_per_second": cycles / seconds,
        "clock_mhz": clock,
        "clock_is": "assumed",
        "images_per_second": clock * 1e6 / per_vector,
        "accuracy": accuracy(run.outputs, given.labels),
        "equals_golden": True,
        "elements": report.counters,
    }
    return document, run, golden


def show_layers(output: Output, document: dict[str, Any]) -> None:
    """Cycles of the layers as a table; see :func:`simulate`."""
    keys = ("cycles", "predicted_cycles", "ideal_cycles", "macs", "padding")
    columns = ["layer", "engine", "cycles", "predicted", "ideal", "products", "padding", "of ideal"]

    def cells(name: str, engine: str, layer: dict[str, Any]) -> list[Any]:
        share = percent(layer["ideal_cycles"] / layer["cycles"])
        return [name, engine, *(layer[key] for key in keys), share]

    rows = [cells(layer["name"], layer["engine"], layer) for layer in document["layers"]]
    total = cells("total", "", document["total"])
    output.table("Cycles per vector, one at a time", columns, rows, total=total)


def _show(output: Output, name: str, document: dict[str, Any]) -> None:
    device, inputs = document["device"], document["inputs"]
    output.say(
        f"network {name} on {device['name']}, {inputs['vectors']} vectors: {inputs['source']}"
    )
    show_layers(output, document)
    counters = {key: values / inputs["vectors"] for key, values in document["elements"].items()}
    output.table(
        "Cycles per vector and element",
        ["counter", "mean", "least", "most", "sum"],
        [
            [key, float(x.mean()), float(x.min()), float(x.max()), float(x.sum())]
            for key, x in counters.items()
        ],
    )
    output.say("outputs    equal to the golden model's, bit by bit")
    if document["accuracy"] is not None:
        output.say(f"accuracy   {percent(document['accuracy'])}")
    output.say(
        f"throughput {document['images_per_second']:,.0f} vectors a second at "
        f"{document['clock_mhz']:g} MHz (an assumed clock), "
        f"{document['cycles_per_vector']:,.1f} cycles each",
        f"simulator  {document['cycles_per_second']:,.0f} cycles a second, "
        f"{document['simulation_cycles']:,} cycles in {document['simulation_seconds']:.3f} s, "
        "one at a time and back to back",
    )
