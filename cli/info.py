"""``prunus info``: what a compressed network consists of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import Output, percent
from cli.verb import IMAGE, verb

if TYPE_CHECKING:
    from golden.image import Network

__all__ = ["command", "ledger_document", "show_ledger"]


@verb(
    examples=["prunus info digits.prunus", "prunus info digits.prunus --json"],
    codes={},
)
@IMAGE
def command(output: Output, image: Path) -> None:
    """Say what a compressed network consists of.

    Shows the layers of IMAGE with their numbers, and where the bytes of the file are. The ledger
    sums up to the size of the file exactly.
    """
    from golden.image import digest, load

    network = load(image)
    ledger = ledger_document(network)
    dense = 4 * sum(layer.outputs * (layer.inputs + 1) for layer in network.layers)
    document: dict[str, Any] = {
        "image": image,
        "name": network.name,
        "digest": digest(network),
        "bytes": ledger["total"],
        "dense_bytes": dense,
        "compression": dense / ledger["total"],
        "activation_width": network.activation_width,
        "input_radix": network.input_radix,
        "inputs": network.inputs,
        "outputs": network.layers[-1].outputs,
        "known_answers": 0 if network.known_inputs is None else len(network.known_inputs),
        "layers": [
            {
                "name": layer.name,
                "outputs": layer.outputs,
                "inputs": layer.inputs,
                "nonzeros": layer.nonzeros,
                "density": layer.density,
                "code_width": layer.code_width,
                "weight_radix": layer.weight_radix,
                "output_radix": layer.output_radix,
                "shift": shift,
                "accumulator_bits": layer.accumulator_bits(network.activation_width),
                "activation": layer.activation,
            }
            for layer, shift in zip(network.layers, network.shifts, strict=True)
        ],
        "ledger": ledger,
    }
    if output.emit(document):
        return
    output.say(
        f"network      {network.name}",
        f"digest       {document['digest']}",
        f"activations  {network.activation_width} bits; the input has {network.input_radix} "
        "fraction bits",
        f"known        {document['known_answers']} inputs with answers",
        f"size         {ledger['total']:,} bytes, {dense / ledger['total']:.1f} times less than "
        f"the {dense:,} of float32",
        "",
    )
    columns = {
        "layer": "name",
        "outputs": "outputs",
        "inputs": "inputs",
        "non-zeros": "nonzeros",
        "density": "density",
        "code bits": "code_width",
        "weight radix": "weight_radix",
        "output radix": "output_radix",
        "shift": "shift",
        "sum bits": "accumulator_bits",
        "activation": "activation",
    }
    rows = []
    for layer in document["layers"]:
        shown = {**layer, "density": percent(layer["density"])}
        rows.append([shown[key] for key in columns.values()])
    output.table("Layers", list(columns), rows)
    show_ledger(output, ledger)


def ledger_document(network: "Network") -> dict[str, Any]:
    """Where the bytes of the image of ``network`` are, as JSON has it."""
    from golden.image import ledger

    found = ledger(network)
    return {
        "header": found.header,
        "known_answers": found.known_answers,
        "layers": found.layers,
        "total": found.total,
    }


def show_ledger(output: Output, ledger: dict[str, Any]) -> None:
    """The ledger as a table; see :func:`ledger_document`."""
    layers: dict[str, dict[str, int]] = ledger["layers"]
    fields = list(next(iter(layers.values())))
    rows: list[list[str | int | None]] = [
        [name, *(sizes[field] for field in fields), sum(sizes.values())]
        for name, sizes in layers.items()
    ]
    blank = [None] * len(fields)
    for part in "header", "known_answers":
        if ledger[part]:
            rows.append([part.replace("_", " "), *blank, ledger[part]])
    sums = [sum(sizes[field] for sizes in layers.values()) for field in fields]
    output.table(
        "Bytes of the file",
        ["part", *fields, "total"],
        rows,
        total=["total", *sums, ledger["total"]],
    )
