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
    from golden.layers import Weighted

    network = load(image)
    ledger = ledger_document(network)
    weighted = [layer for layer in network.layers if isinstance(layer, Weighted)]
    dense = 4 * sum(layer.outputs * (layer.inputs + 1) for layer in weighted)
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
        "input_shape": network.input_shape,
        "outputs": network.outputs,
        "known_answers": 0 if network.known_inputs is None else len(network.known_inputs),
        "layers": _layers(network),
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
    tensors = ["input", *(layer.name for layer in network.layers)]
    columns = {
        "layer": "name",
        "kind": "kind",
        "takes": "sources",
        "shape": "shape",
        "window": "kernel",
        "step": "stride",
        "padding": "padding",
        "groups": "groups",
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
    # What no layer has takes no column.
    columns = {
        title: key
        for title, key in columns.items()
        if any(layer[key] is not None for layer in document["layers"])
    }
    rows = []
    for layer in document["layers"]:
        shown = {key: _sides(x) if isinstance(x, tuple) else x for key, x in layer.items()}
        shown["sources"] = ", ".join(tensors[k] for k in layer["sources"])
        if layer["density"] is not None:
            shown["density"] = percent(layer["density"])
        rows.append([shown[key] for key in columns.values()])
    output.table("Layers", list(columns), rows)
    show_ledger(output, ledger)


def _layers(network: "Network") -> list[dict[str, Any]]:
    """The layers as JSON has them; null is what layers of a kind do not have."""
    from golden.layers import Weighted
    from golden.metadata import content, describe

    found = []
    for index, (layer, own) in enumerate(zip(network.layers, network.sources, strict=True)):
        fields = content(describe(layer, own))
        found.append(
            {
                "name": fields.pop("layer"),
                **fields,
                "shape": network.shapes[index + 1],
                "density": layer.density if isinstance(layer, Weighted) else None,
                "shift": network.shifts[index],
                "accumulator_bits": network.accumulator_bits[index],
            }
        )
    return found


def _sides(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


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
    fields = list(next(iter(layers.values()), ()))
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
