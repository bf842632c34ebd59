"""``prunus compare``: machines held against each other, bit by bit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.explain import device_document, plan_or_say_why
from cli.inputs import Options, input_options, read_inputs
from cli.output import Output
from cli.runs import Golden, run_golden, run_judge
from cli.simulate import build
from cli.verb import DEVICE, IMAGE, verb
from golden.errors import MismatchError

if TYPE_CHECKING:
    import numpy as np

    from golden.image import Network
    from mapping import Plan
    from sim.compiled import Run

__all__ = ["MACHINES", "Difference", "Trace", "command", "difference", "flipped", "shown"]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a machine has computed.

    Attributes
    ----------
    layers : sequence of ndarray of int16, ``(batch, outputs)``, or None
        Outputs of each layer, in the order of its rows; None for a layer that the machine does not
        show, because its result is only where those of others are.
    cycles : list of ndarray of int, ``(batch, outputs)``, or None
        Cycle in which each came into being, counted from the start of the run; None if the machine
        has no clock.
    """

    layers: "Sequence[np.ndarray | None]"
    cycles: "Sequence[np.ndarray | None] | None" = None


def _golden(
    network: "Network", plan: "Plan | None", vectors: "np.ndarray", output: Output
) -> Trace:
    return Trace([layer.outputs for layer in run_golden(network, vectors, output)])


def _torch(network: "Network", plan: "Plan | None", vectors: "np.ndarray", output: Output) -> Trace:
    return Trace(run_judge(network, vectors, output))


def _rtl(network: "Network", plan: "Plan | None", vectors: "np.ndarray", output: Output) -> Trace:
    assert plan is not None
    with build(output, plan) as model:
        model.load(plan)
        with output.progress("simulation", len(vectors)) as advance:
            run = model.run(vectors, ahead=1, taps=True, progress=advance)
    return shown(plan, run)


def shown(plan: "Plan", run: "Run") -> Trace:
    """What a device has shown of each layer."""
    assert run.taps is not None
    assert run.tapped is not None
    taps = dict(zip(plan.shown, zip(run.taps, run.tapped, strict=True), strict=True))
    found = [taps.get(number, (None, None)) for number in range(len(plan.network.layers))]
    return Trace([layer for layer, _ in found], [cycles for _, cycles in found])


MACHINES: "dict[str, Callable[[Network, Plan | None, np.ndarray, Output], Trace]]" = {
    "golden": _golden,
    "torch": _torch,
    "rtl": _rtl,
}
_ON_DEVICES = {"rtl"}


def _machines(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    unknown = [name for name in names if name not in MACHINES]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(MACHINES)}.")
    if len(set(names)) < len(names):
        raise click.BadParameter("each machine can be named once.")
    if len(names) < 2:
        raise click.BadParameter("at least two machines are needed, with a comma between.")
    return names


@verb(
    examples=[
        "prunus compare digits.prunus --dataset digits",
        "prunus compare digits.prunus --on golden,rtl --device pe4 --random 100",
        "prunus compare digits.prunus --flip fc2    # must fail, and name fc2",
        "prunus compare squeezenet.prunus --on golden,torch --random 1",
    ],
    codes={
        1: "the machines differ; the message says where first",
        3: "a tool or package is missing; see prunus doctor",
        4: "the network does not fit the device",
        5: "the simulated device does not answer",
    },
)
@IMAGE
@click.option(
    "--on",
    "machines",
    default="golden,rtl",
    show_default=True,
    metavar="A,B",
    callback=_machines,
    help=f"Machines, the first of which is right. There are {', '.join(MACHINES)}.",
)
@DEVICE
@input_options
@click.option(
    "--flip",
    metavar="LAYER",
    help="Negative control: load one wrong weight of this layer into all machines but the first.",
)
def command(
    output: Output,
    image: Path,
    machines: list[str],
    device: str,
    inputs: Options,
    flip: str | None,
) -> None:
    """Hold machines against each other, bit by bit.

    Runs every vector on each machine and compares all activations of all layers. Where two
    machines differ, it names the first layer, vector, row, processing element and cycle, and both
    values. Only rtl needs a device; torch is a second opinion on the golden model: the layers of
    PyTorch in float64.

    A comparison that cannot fail proves nothing: --flip makes it fail on purpose.
    """
    from cli.device import find_device
    from golden.image import digest, load

    configuration = find_device(device)
    on_device = not _ON_DEVICES.isdisjoint(machines)

    def laid(network: "Network") -> "Plan | None":
        return plan_or_say_why(network, configuration) if on_device else None

    network = load(image)
    plan = laid(network)
    given = read_inputs(network, inputs)
    other, other_plan = network, plan
    if flip is not None:
        results = run_golden(network, given.vectors, output)
        other = flipped(network, flip, given.vectors, results)
        other_plan = laid(other)
    first, *rest = machines
    right = MACHINES[first](network, plan, given.vectors, output)
    document: dict[str, Any] = {
        "image": image,
        "digest": digest(network),
        "device": device_document(device, configuration) if on_device else None,
        "machines": machines,
        "inputs": {"source": given.source, "vectors": len(given)},
        "flipped": flip,
        "comparisons": [],
    }
    found = None
    for name in rest:
        trace = MACHINES[name](other, other_plan, given.vectors, output)
        found = found or difference(network, plan, (first, right), (name, trace))
        layers = zip(network.layers, right.layers, trace.layers, strict=True)
        document["comparisons"].append(
            {
                "machine": name,
                "layers": [
                    {
                        "name": layer.name,
                        "compared": want.size,
                        "different": int((want != got).sum()),
                    }
                    for layer, want, got in layers
                    if want is not None and got is not None
                ],
            }
        )
    document["equal"] = found is None
    document["first_difference"] = found and asdict(found)
    if not output.emit(document):
        output.say(f"{len(given)} vectors: {given.source}")
        for comparison in document["comparisons"]:
            output.table(
                f"{first} and {comparison['machine']}",
                ["layer", "activations", "different"],
                [list(layer.values()) for layer in comparison["layers"]],
            )
        output.say("equal, bit by bit" if found is None else "different")
    if found is not None:
        output.log(f"prunus: {found}")
        raise click.exceptions.Exit(MismatchError.exit_code)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first activation that two machines do not agree on.

    Attributes
    ----------
    layer : str
        Name of the layer.
    vector : int
        Number of the vector.
    row : int
        Row of the layer; in a feature map, the channel.
    pixel : tuple of int or None
        Row and column in the feature map; None if the layer makes none.
    elements : list of int or None
        Processing elements that add up the row: one, or one in each way if the layer is split. None
        if neither machine is a device, or the layer has no weights.
    tile : int or None
        In which tile of the layer; None if it is in one piece.
    element_row : int or None
        As which row of their own, in that tile; None with ``elements``.
    cycle : int or None
        When the activation came into being, counted from the start of the run; None if neither
        machine has a clock.
    values : dict of str to int
        The activation, by machine.
    """

    layer: str
    vector: int
    row: int
    pixel: tuple[int, int] | None
    elements: list[int] | None
    tile: int | None
    element_row: int | None
    cycle: int | None
    values: dict[str, int]

    def __str__(self) -> str:
        when = "" if self.cycle is None else f", cycle {self.cycle:,}"
        values = ", ".join(f"{name} has {value}" for name, value in self.values.items())
        where, place = "", f"row {self.row}"
        if self.pixel is not None:
            place = f"pixel {self.pixel[0]}, {self.pixel[1]}, channel {self.row}"
        if self.elements is not None:
            owners = "element" if len(self.elements) == 1 else "elements"
            owners += f" {' and '.join(map(str, self.elements))}"
            tile = "" if self.tile is None else f", in tile {self.tile}"
            where = f" (row {self.element_row} of processing {owners}{tile})"
        return (
            f"first difference in layer {self.layer!r}, vector {self.vector}, {place}{where}"
            f"{when}: {values}"
        )


def difference(
    network: "Network",
    plan: "Plan | None",
    first: tuple[str, Trace],
    second: tuple[str, Trace],
) -> Difference | None:
    """Where two traces differ first: in the first layer, there in the first vector.

    Parameters
    ----------
    network : Network
        What they have run.
    plan : Plan or None
        Says which element has which row; None if neither machine is a device.
    first, second : tuple of str and Trace
        Name of each machine, and what it has computed.
    """
    import numpy as np

    (right_name, right), (name, found) = first, second
    cycles = found.cycles or right.cycles
    plans = dict(zip(plan.numbers, plan.layers, strict=True)) if plan else {}
    for index, layer in enumerate(network.layers):
        want, got = right.layers[index], found.layers[index]
        if want is None or got is None or not (want != got).any():
            continue
        vector = int((want != got).any(axis=1).argmax())
        places = np.flatnonzero(want[vector] != got[vector])
        when = None if cycles is None else cycles[index]
        if when is not None:
            places = places[np.argsort(when[vector, places], kind="stable")]
        place = int(places[0])
        *pixel, row = map(int, np.unravel_index(place, network.shapes[index + 1]))
        laid = plans.get(index)
        elements, tile, local = laid.owners(row) if laid else (None, None, None)
        return Difference(
            layer=layer.name,
            vector=vector,
            row=row,
            pixel=(pixel[0], pixel[1]) if pixel else None,
            elements=elements,
            tile=tile if laid and laid.tiles > 1 else None,
            element_row=local,
            cycle=None if when is None else int(when[vector, place]),
            values={right_name: int(want[vector, place]), name: int(got[vector, place])},
        )
    return None


def flipped(
    network: "Network", name: str, vectors: "np.ndarray", layers: list[Golden]
) -> "Network":
    """``network`` with one weight of layer ``name`` changed so that the layer's outputs change.

    Parameters
    ----------
    network : Network
    name : str
        Which layer.
    vectors : ndarray of int, ``(batch, network.inputs)``
        What will be run.
    layers : list of Golden
        What the golden model makes of it.

    Raises
    ------
    click.UsageError
        If there is no such layer, or no weight that matters.
    """
    import numpy as np
    import torch

    from golden.fixed import limits, requantise
    from golden.layers import Weighted

    names = [layer.name for layer in network.layers if isinstance(layer, Weighted)]
    if name not in names:
        raise click.UsageError(f"--flip must be one of {', '.join(names)}, not {name!r}")
    index = [layer.name for layer in network.layers].index(name)
    layer, shift = network.layers[index], network.shifts[index]
    assert isinstance(layer, Weighted)
    bounds = limits(network.activation_width, layer.activation)
    codebook = layer.codebook.astype(np.int64)
    # The code whose value is farthest from that of each weight. Code 0 is for no weight at all.
    others = np.abs(codebook[:, None] - codebook[None, 1:]).argmax(axis=1)[layer.codes] + 1
    change = codebook[others] - codebook[layer.codes]
    for activations, sums in _products(network, index, vectors, layers):
        before = sums[layer.rows]
        both = torch.from_numpy(np.stack([before, before + change * activations]))
        right, wrong = requantise(both, shift, *bounds).numpy()
        effect = np.abs(wrong - right)
        if effect.any():
            place = int(effect.argmax())
            codes = layer.codes.copy()
            codes[place] = others[place]
            return replace(
                network,
                layers=(
                    *network.layers[:index],
                    replace(layer, codes=codes),
                    *network.layers[index + 1 :],
                ),
                known_inputs=None,
                known_outputs=None,
            )
    raise click.UsageError(f"no weight of layer {name!r} matters to these vectors")


def _products(
    network: "Network", index: int, vectors: "np.ndarray", layers: list[Golden]
) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Activations that each weight of a layer is multiplied with, and the sums that result.

    They are int64 ``(nonzeros,)`` and ``(outputs,)``: for each vector, and for a convolution at
    each position of its kernel.
    """
    import numpy as np
    import torch

    from golden.convolution import windows
    from golden.layers import Convolution, Weighted

    layer, (source,) = network.layers[index], network.sources[index]
    assert isinstance(layer, Weighted)
    taken = (layers[source - 1].outputs if source else vectors).astype(np.int64)
    for vector, accumulators in zip(taken, layers[index].accumulators, strict=True):
        if not isinstance(layer, Convolution):
            yield vector[layer.columns], accumulators
            continue
        image = torch.from_numpy(vector.reshape(1, *network.shapes[source]))
        found = windows(layer, image)[0]
        groups = layer.rows // (layer.outputs // layer.groups)
        sums = accumulators.reshape(*found.shape[:2], layer.outputs)
        for place in np.ndindex(*found.shape[:2]):
            window = found[place].unflatten(2, (layer.groups, -1)).movedim(2, 0).flatten(1)
            yield window.numpy()[groups, layer.columns], sums[place]
