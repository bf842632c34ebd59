"""``prunus verilog``: a device as Verilog, and a description of it."""

import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.explain import device_document
from cli.output import Output, check_apart, check_target, to_json
from cli.verb import DEVICE, FILE, verb
from golden.errors import ToolError
from golden.files import write_whole

if TYPE_CHECKING:
    from hdl.configuration import Configuration

__all__ = ["command", "memories", "write_verilog"]

_PORTS = {
    "clk": "clock; everything happens at its rising edge",
    "rst": "reset, synchronous, active high",
    "load__payload": "packets that load a network: a beat",
    "load__valid": "whether there is one",
    "load__ready": "whether it is taken",
    "i__payload": "vectors in: a block of activations, the first one in the lowest bits",
    "i__valid": "whether there is one",
    "i__ready": "whether it is taken",
    "o__payload": "results out: a block of activations, and on top whether it is the last one",
    "o__valid": "whether there is one",
    "o__ready": "whether it is taken",
    "counters__payload": "report out: a number",
    "counters__valid": "whether there is one",
    "counters__ready": "whether it is taken",
    "layer": "which layer or tile is at hand",
    "running": "whether there is one",
    "tap": "activations of every layer as they come into being, to watch",
    "tap_valid": "whether there is a block of them",
}
# By patterns of their names.
_MEMORIES = {
    "element.accumulate.bank_0": "sums of the rows of an element, of every other run",
    "element.accumulate.bank_1": "sums of the rows of an element, of the runs between",
    "element.accumulate.codebook": "codebook values, a copy in each element",
    "element.counts.memory": "entries of each column, a block of columns a word",
    "element.fetch.memory": "weights, two entries a word",
    "element.fetch.words.memory": "words on their way from the memory of weights",
    "element.queue.queue.memory": "segments that wait in front of an element",
    "prunus.between.front.memory": "those that are scanned next",
    "prunus.between.memory.words": "activations between two layers",
    "prunus.engine.blocks_*.memory": "blocks dealt to a scan",
    "prunus.engine.drain.biases.words": "biases, a block a word",
    "prunus.inputs.front.memory": "those that are scanned next",
    "prunus.inputs.memory.words": "vectors that wait",
    "prunus.maps.conductor.cycles": "cycles that each stage took",
    "prunus.maps.conductor.stages": "the stages of the network",
    "prunus.maps.convolve.engine.collect.bands.memory": "bands of results that are to be put out",
    "prunus.maps.convolve.engine.collect.blocks.memory": "blocks of results that leave",
    "prunus.maps.convolve.engine.collect.memory_*.words": "results of tiles, two bands",
    "prunus.maps.convolve.engine.drain_*.before": "sums at the end of the tile before",
    "prunus.maps.convolve.engine.drain_*.biases.words": "biases of two convolutions",
    "prunus.maps.convolve.engine.weights.codebook_*": "codebook values, a copy for each weight",
    "prunus.maps.convolve.engine.windows.lane_*.memory_*.words": "blocks of input, an activation",
    "prunus.maps.convolve.feed.queue.memory": "weights on their way from their memory",
    "prunus.maps.convolve.feed.ram.words": "weights, biases and codebooks of convolutions",
    "prunus.maps.fold.queue.memory": "folded words that leave",
    "prunus.maps.memory.answers.front.memory": "those that are next",
    "prunus.maps.memory.answers.memory.words": "words from memory outside",
    "prunus.maps.memory.places.front.memory": "those that are next",
    "prunus.maps.memory.places.memory.words": "places whose words are on their way",
    "prunus.maps.memory.queue.memory": "words of feature maps that were read",
    "prunus.maps.memory.ram.words": "feature maps",
    "prunus.outputs.memory": "results that wait",
    "prunus.sequencer.cycles": "cycles that each layer or tile took",
    "prunus.sequencer.program": "the layers of the network, tile by tile",
    "winograd_kernel.row_*.memory.words": "transformed weights of an output channel, two groups",
}


@verb(
    examples=[
        "prunus verilog --device pe16 -o prunus.v",
        "prunus verilog --device small.toml -o small.v --json",
    ],
    codes={3: "Yosys is missing or failed; see prunus doctor"},
)
@DEVICE
@click.option(
    "-o",
    "--output",
    "target",
    type=FILE,
    default="prunus.v",
    show_default=True,
    metavar="FILE.v",
    help="Where the Verilog is to be. Its description goes beside it, as .json.",
)
def command(output: Output, device: str, target: Path) -> None:
    """Write a device as Verilog.

    One file has the whole accelerator as module "prunus", with its parameters on top. The same
    device always gives the same text. Networks are not part of it: they are loaded.

    A device is a preset, or a TOML file with any parameters of
    hdl.configuration.Configuration, such as "elements = 8".

    A JSON file beside it describes the ports (name, direction, width, meaning) and memories (name,
    width, depth, count, bits).
    """
    from cli.device import device_file, find_device

    configuration = find_device(device)
    if target.suffix == ".json":
        raise click.UsageError(f"{target}: the Verilog must not end in .json, its description does")
    description = check_target(check_target(target).with_suffix(".json"))
    check_apart([target, description], [device_file(device)])
    with output.waiting("writing Verilog"):
        document = write_verilog(device, configuration, target)
    if output.emit(document):
        return
    output.table(
        f"Ports of {target}",
        ["port", "direction", "bits", "meaning"],
        [
            [port["name"], port["direction"], port["width"], port["meaning"]]
            for port in document["ports"]
        ],
    )
    columns = ("name", "width", "depth", "count", "bits", "meaning")
    output.table(
        "Memories",
        columns,
        [[memory[column] for column in columns] for memory in document["memories"]],
        total=["total", "", "", "", sum(m["bits"] for m in document["memories"]), ""],
    )
    output.say(f"wrote {document['verilog']}", f"wrote {document['description']}")


def write_verilog(device: str, configuration: "Configuration", target: Path) -> dict[str, Any]:
    """Write the Verilog of a device, and beside it the description that is returned."""
    from amaranth.hdl import Value

    from hdl.accelerator import Accelerator
    from hdl.verilog import YosysError, convert

    accelerator = Accelerator(configuration)
    try:
        text = convert(accelerator, name="prunus")
    except YosysError as error:
        raise ToolError(str(error)) from error
    parameters = device_document(device, configuration)
    ports = [
        {"name": "clk", "direction": "input", "width": 1},
        {"name": "rst", "direction": "input", "width": 1},
    ]
    for path, member, value in accelerator.signature.flatten(accelerator):
        direction = "input" if member.flow.name == "In" else "output"
        port = {"name": "__".join(path), "direction": direction, "width": len(Value.cast(value))}
        ports.append(port)
    document: dict[str, Any] = {
        "verilog": target,
        "description": target.with_suffix(".json"),
        "module": "prunus",
        "device": parameters,
        "ports": [{**port, "meaning": _PORTS[str(port["name"])]} for port in ports],
        "memories": memories(text, "prunus"),
    }
    write_whole(
        {target: _header(parameters) + text, document["description"]: to_json(document) + "\n"}
    )
    return document


def _header(parameters: dict[str, Any]) -> str:
    """Comment with the parameters of the device, but for its name: a file may have any."""
    names = [name for name in parameters if name != "name"]
    width = max(map(len, names))
    lines = [
        "Prunus: a sparse accelerator for networks with shared weights.",
        "Module prunus, with the parameters",
        *(f"  {name.ljust(width)}  {parameters[name]}" for name in names),
    ]
    return "".join(f"// {line}\n" for line in lines) + "\n"


_MODULE = re.compile(r"^module \\?(\S+?) ?\(")
_INSTANCE = re.compile(r"^  \\?(\S+) +\\?(\S+) +\($")
_MEMORY = re.compile(r"^  reg (?:\[(\d+):0\] )?\\?(\S+) +\[(\d+):0\];$")


def memories(text: str, top: str) -> list[dict[str, Any]]:
    """Memories in the Verilog ``text`` of module ``top``.

    Returns
    -------
    list of dict
        ``name`` (module and memory), ``width`` in bits, ``depth`` in words, ``count`` of such
        memories in the whole design, ``bits`` of all of them, and ``meaning``.
    """
    found: dict[str, list[tuple[str, int, int]]] = {}
    children: dict[str, Counter[str]] = {}
    module = ""
    for line in text.splitlines():
        if match := _MODULE.match(line):
            module = match[1]
            found[module], children[module] = [], Counter()
        elif match := _MEMORY.match(line):
            found[module].append((match[2], int(match[1] or 0) + 1, int(match[3]) + 1))
        elif match := _INSTANCE.match(line):
            children[module][match[1]] += 1

    counts: Counter[str] = Counter()

    def visit(name: str, times: int) -> None:
        counts[name] += times
        for child, number in children[name].items():
            visit(child, times * number)

    visit(top, 1)
    result = []
    for name in sorted(found):
        for memory, width, depth in found[name]:
            path = f"{name}.{memory}"
            count = counts[name]
            result.append(
                {
                    "name": path,
                    "width": width,
                    "depth": depth,
                    "count": count,
                    "bits": width * depth * count,
                    "meaning": _meaning(path),
                }
            )
    return result


def _meaning(memory: str) -> str:
    """What a memory has, or nothing if it is not the accelerator's."""
    return next((said for name, said in _MEMORIES.items() if fnmatchcase(memory, name)), "")
