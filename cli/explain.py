"""``prunus explain``: how a compressed network lies on a device, and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.inputs import Options, input_options, read_inputs
from cli.output import Output, percent
from cli.runs import activations, predict_run, run_golden
from cli.verb import DEVICE, IMAGE, verb
from golden.errors import FitError, UnsupportedError

if TYPE_CHECKING:
    from golden.image import Network
    from hdl.configuration import Configuration
    from mapping import Plan

__all__ = ["command", "plan_or_say_why"]


@verb(
    examples=[
        "prunus explain digits.prunus --device pe16",
        "prunus explain digits.prunus --device small.toml --dataset digits --limit 100",
    ],
    codes={3: "torch is missing", 4: "the network does not fit the device"},
)
@IMAGE
@DEVICE
@input_options
def command(output: Output, image: Path, device: str, inputs: Options) -> None:
    """Say how a compressed network lies on a device.

    Shows for each layer how its rows and weights are dealt out to the processing elements, in tiles
    if the rows do not fit these at a time, how full each memory becomes, and how many cycles the
    layer takes, which depends on the vectors.
    The prediction is exact: it is what the hardware counts. It is of vectors one at a time; back to
    back, they take fewer cycles each, which prunus simulate counts.

    A column "ideal" has the cycles that the products of non-zeros would take if all elements were
    always busy.
    """
    import numpy as np

    from cli.device import find_device
    from golden.image import digest, load

    configuration = find_device(device)
    network = load(image)
    plan = plan_or_say_why(network, configuration)
    given = read_inputs(network, inputs)
    results = run_golden(network, given.vectors, output)
    taken = activations(network, given.vectors, results)
    found = predict_run(plan, given.vectors, results, output)
    shown = [*plan.shown]

    layers = []
    for number, layer in zip(plan.numbers, plan.layers, strict=True):
        index = shown.index(number)
        totals = layer.entries.totals
        members = configuration.elements // layer.teams
        share = layer.outputs // layer.tile_positions * members + layer.outputs % members
        rows = np.bincount(share, minlength=layer.tiles * members).reshape(-1, members)
        layers.append(
            {
                "name": layer.name,
                "split": layer.split,
                "tiles": [
                    {
                        "rows_per_element": _bounds(own),
                        "entries": int(entries.sum()),
                        "balance": _balance(entries),
                    }
                    for own, entries in zip(rows, layer.tile_totals, strict=True)
                ],
                "rows_per_element": _bounds(rows.sum(axis=0)),
                "entries": int(totals.sum()),
                "padding_entries": layer.padding,
                "code_width": layer.layer.code_width,
                "delta_width": layer.delta_width,
                "most_in_a_column": int(layer.entries.counts.max()),
                "entries_per_element": totals,
                "balance": _balance(totals),
                "input_density": float((taken[number] != 0).mean()),
                "macs": float(found.useful[:, index].mean()),
                "ideal_cycles": float(found.useful[:, index].mean()) / configuration.elements,
                "predicted_cycles": float(found.cycles[:, index].mean()),
            }
        )
    folds = [
        {
            "name": network.layers[number].name,
            "predicted_cycles": float(found.cycles[:, index].mean()),
        }
        for index, number in enumerate(shown)
        if number not in plan.numbers
    ]
    ideal = sum(layer["ideal_cycles"] for layer in layers)
    cycles = sum(layer["predicted_cycles"] for layer in [*layers, *folds])
    document: dict[str, Any] = {
        "image": image,
        "digest": digest(network),
        "device": device_document(device, configuration),
        "fits": True,
        "inputs": {"source": given.source, "vectors": len(given)},
        "layers": layers,
        "folds": folds,
        "memories": _memories(plan),
        "load": {
            "beats": len(plan.load),
            "entries_per_element": plan.totals,
            "balance": _balance(plan.totals),
        },
        "total": {"predicted_cycles": cycles, "ideal_cycles": ideal},
    }
    if output.emit(document):
        return
    output.say(
        f"network {network.name} on {device}: {configuration.elements} processing elements, "
        f"{len(plan.load):,} beats to load",
        f"{len(given)} vectors: {given.source}",
    )
    output.table(
        "Layers",
        [
            *(
                "layer",
                "split",
                "tiles",
                "rows per element",
                "entries",
                "padding",
                "code bits",
                "delta bits",
            ),
            *("longest column", "balance"),
        ],
        [
            [
                layer["name"],
                "yes" if layer["split"] else "no",
                len(layer["tiles"]),
                _range(layer["rows_per_element"]),
                layer["entries"],
                layer["padding_entries"],
                layer["code_width"],
                layer["delta_width"],
                layer["most_in_a_column"],
                percent(layer["balance"]),
            ]
            for layer in layers
        ],
    )
    tiled = [layer for layer in layers if len(layer["tiles"]) > 1]
    if tiled:
        output.table(
            "Tiles",
            ["layer", "tile", "rows per element", "entries", "balance"],
            [
                [
                    layer["name"],
                    number,
                    _range(tile["rows_per_element"]),
                    tile["entries"],
                    percent(tile["balance"]),
                ]
                for layer in tiled
                for number, tile in enumerate(layer["tiles"])
            ],
        )
    output.table(
        "Memories",
        ["memory", "parameter", "used", "of", "share"],
        [
            [row["memory"], row["parameter"], row["used"], row["available"], percent(row["share"])]
            for row in document["memories"]
        ],
    )
    output.table(
        "Cycles per vector, one at a time",
        ["layer", "input density", "products", "ideal", "predicted", "of ideal"],
        [
            [
                layer["name"],
                percent(layer["input_density"]),
                layer["macs"],
                layer["ideal_cycles"],
                layer["predicted_cycles"],
                percent(layer["ideal_cycles"] / layer["predicted_cycles"]),
            ]
            for layer in layers
        ]
        + [[fold["name"], "", "", "", fold["predicted_cycles"], ""] for fold in folds],
        total=["total", "", sum(x["macs"] for x in layers), ideal, cycles, percent(ideal / cycles)],
    )


def plan_or_say_why(network: "Network", configuration: "Configuration") -> "Plan":
    """The plan of ``network`` on a device.

    Raises
    ------
    FitError
        If it does not fit. The message has all that is short, and the presets that would do.
    """
    from hdl.configuration import PRESETS
    from mapping import plan

    try:
        return plan(network, configuration)
    except FitError as error:
        others = []
        for name, preset in PRESETS.items():
            try:
                plan(network, preset)
            except (FitError, UnsupportedError):
                continue
            others.append(name)
        hint = f"it fits {', '.join(others)}" if others else "it fits no preset"
        raise FitError(f"{error}\n{hint}") from None


def device_document(name: str, configuration: "Configuration") -> dict[str, Any]:
    """A device as JSON has it."""
    from dataclasses import asdict

    return {"name": name, **asdict(configuration)}


def _bounds(numbers: Any) -> dict[str, int]:
    return {"least": int(numbers.min()), "most": int(numbers.max())}


def _range(bounds: dict[str, int]) -> str:
    return f"{bounds['least']} to {bounds['most']}"


def _balance(totals: Any) -> float:
    """Mean over greatest, 0 to 1: what of the time the elements work if they never wait."""
    return float(totals.mean() / totals.max()) if totals.max() else 1.0


def _memories(plan: "Plan") -> list[dict[str, Any]]:
    """What a network takes of each memory of its device."""
    from mapping.plan import waiting

    c = plan.configuration
    layers = plan.layers
    columns = sum(layer.tiles * layer.team_columns[0] for layer in layers)
    used = {
        "weights of an element": ("weight_depth", int(plan.totals.max())),
        "column counts": ("column_depth", columns),
        "rows of an element": ("row_depth", max((layer.rows for layer in layers), default=0)),
        "codebook values": ("codebook_depth", sum(len(x.layer.codebook) for x in layers)),
        "biases": ("bias_depth", sum(layer.positions for layer in layers)),
        "activations": (
            "activation_depth",
            max((waiting([one])[0] for one in layers), default=0)
            if plan.stages
            else max(waiting(layers)),
        ),
        "layers and tiles": ("layer_depth", len(plan.lines)),
    }
    if plan.stages:
        used["words of feature maps"] = ("map_depth", plan.map_words)
        used["stages"] = ("stage_depth", len(plan.stages))
    if c.winograd is not None:
        items = sum(len(one.winograd.items) for one in plan.stages if one.winograd is not None)
        used["weights of the Winograd unit"] = ("winograd_depth", items)
    return [
        {
            "memory": memory,
            "parameter": parameter,
            "used": count,
            "available": getattr(c, parameter),
            "share": count / getattr(c, parameter),
        }
        for memory, (parameter, count) in used.items()
    ]
