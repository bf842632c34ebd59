"""Bench of :mod:`hdl.winograd`, all of it. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from dataclasses import dataclass, replace
from typing import Any

import cocotb
import numpy as np
import torch

from golden.errors import FitError
from golden.fixed import limits
from golden.nets.random import random_pairs
from golden.winograd import layer as golden_layer
from golden.winograd import phases, transform
from hdl.winograd.parameters import Descriptor, Parameters
from mapping.winograd import Convolution, beats, blocks, describe, image, predict
from sim.streams import Stream, Unit
from sim.units import BENCHES

NAMES = list(BENCHES["winograd"])
PAIRED = [name for name in NAMES if name.endswith("pairs")]


@dataclass(frozen=True, eq=False)
class Case:
    """A layer, all that it takes, and what is to come of it."""

    layer: Convolution
    fields: dict[str, int]
    inputs: np.ndarray
    weights: np.ndarray
    codes: np.ndarray
    codebook: np.ndarray
    biases: np.ndarray
    outputs: np.ndarray


def numbers(width: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers: all of them, or the two extreme ones only."""
    low, high = limits(width)
    generator = np.random.default_rng(random.getrandbits(63))
    if random.random() < 0.5:
        return generator.choice([low, high], shape)
    return generator.integers(low, high, shape, endpoint=True)


def case(
    p: Parameters,
    layer: Convolution,
    inputs: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Case:
    """A case with these inputs and weights, or random ones; if need be, weights of a codebook."""
    if inputs is None:
        inputs = numbers(p.activation_width, (layer.channels, layer.height, layer.width))
    codes, codebook = coded(p, layer) if weights is None else coded_as(p, weights)
    weights = codebook[codes] if p.code_width else codes
    # So much remains for biases.
    room = (1 << (p.sum_width - 1)) - reach(p, layer, weights)
    assert room > 0, "the sums of the case must fit"
    bound = min(room, 1 << 31)
    biases = np.array([random.choice([-bound, bound - 1, 0]) for _ in range(layer.kernels)])
    outputs = golden_layer(
        torch.tensor(inputs)[None],
        torch.tensor(weights),
        torch.tensor(biases),
        tile=p.tile,
        padding=layer.padding,
        shift=layer.shift,
        activation="relu" if layer.low == 0 else "none",
        activation_width=p.activation_width,
        weight_width=p.weight_width,
    )[1]
    fields = describe(layer, p)
    return Case(layer, fields, inputs, weights, codes, codebook, biases, outputs[0].numpy())


def coded(p: Parameters, layer: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Random weights, or codes and a codebook."""
    rng = np.random.default_rng(random.getrandbits(63))
    side = p.size if layer.paired else 3
    shape = (layer.kernels, layer.channels, side, side)
    codebook = numbers(p.weight_width, (1 << p.code_width if p.code_width else 0,))
    codebook[:1] = 0
    bounds = (0, (1 << p.code_width) - 1) if p.code_width else limits(p.weight_width)
    if layer.paired:
        return random_pairs(rng, *bounds, shape), codebook
    if p.code_width:
        return rng.integers(*bounds, shape, endpoint=True), codebook
    return numbers(p.weight_width, shape), codebook


def coded_as(p: Parameters, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """These weights, of which there are few different ones, or their codes and a codebook."""
    if p.code_width is None:
        return weights, np.zeros(0, np.int64)
    codebook = numbers(p.weight_width, (1 << p.code_width,))
    values = np.array(sorted(np.unique(weights), key=abs))  # zero is the first one
    codebook[: len(values)] = values
    return (weights[..., None] == values).argmax(axis=-1), codebook


def reach(p: Parameters, layer: Convolution, weights: np.ndarray) -> int:
    """What a sum can come to without its bias."""
    most = 1 << (p.activation_width - 1)
    if layer.paired:
        return most * int(phases(torch.tensor(weights), p.tile).abs().sum((3, 4, 5)).max())
    return 9 * layer.channels * most << (p.weight_width - 1)


def random_layer(p: Parameters, channels: int, most: int = 11) -> Convolution:
    """A layer that fits, of any size and padding."""
    while True:
        padding = random.choice(["same", "valid"])
        sides = [random.randint(1 if padding == "same" else 3, most) for _ in range(2)]
        low, high = limits(p.activation_width, random.choice(["none", "relu"]))
        layer = Convolution(
            height=sides[0],
            width=sides[1],
            channels=random.randint(1, channels) * p.ways,
            paired=p.pairs and random.random() < 0.6,
            kernels=random.randint(1, 7),
            padding=padding,
            shift=random.randrange(p.sum_width),
            low=low,
            high=high,
        )
        try:
            describe(layer, p)
        except FitError:
            continue
        return layer


def packed(parts: np.ndarray, width: int) -> list[int]:
    """Beats whose parts are ``parts[beat]``, the first one lowest."""
    mask = (1 << width) - 1
    return [
        sum((int(number) & mask) << width * n for n, number in enumerate(beat.ravel()))
        for beat in parts
    ]


class Bench:
    """Feeds an engine with cases, and takes what comes of them."""

    def __init__(self, dut: Any, name: str, stall: float, stall_out: float) -> None:
        self.unit = Unit(dut, name)
        self.p: Parameters = self.unit.component.parameters
        names = ["layer", "i", "biases", "weights"]
        names += ["codebook"] if self.p.code_width else []
        self.streams = {name: Stream(self.unit, name, stall=stall) for name in names}
        self.o = Stream(self.unit, "o", stall=stall_out)

    def feed(self, cases: list[Case]) -> list[Any]:
        """Start to offer everything."""
        p = self.p
        layout = Descriptor(p)
        offers: dict[str, list[int]] = {name: [] for name in self.streams}
        for case in cases:
            offers["layer"].append(layout.const(case.fields).as_bits())
            offers["i"] += packed(blocks(case.inputs, p.tile), p.activation_width)
            offers["biases"] += packed(case.biases[:, None], 32)
            offers["weights"] += packed(beats(case.codes, p, case.fields["bands"]), p.number_width)
            if p.code_width:
                offers["codebook"] += packed(case.codebook[:, None], p.weight_width)
        return [
            cocotb.start_soon(stream.put_all(offers[name])) for name, stream in self.streams.items()
        ]

    async def check(self, case: Case) -> None:
        """Take the results of a case. What is beyond the edges is of no account."""
        p = self.p
        rows, columns = case.layer.results
        count = case.fields["rows"] * case.fields["columns"] * case.layer.kernels
        taken = []
        for _ in range(count):
            bits = int(await self.o.get())
            taken.append([bits >> p.activation_width * n for n in range(p.tile**2)])
        signs = 1 << (p.activation_width - 1)
        values = ((np.array(taken, object) & (2 * signs - 1)) ^ signs) - signs
        actual = image(values.astype(np.int64).reshape(-1, p.tile, p.tile), rows, columns)
        assert np.array_equal(actual, case.outputs), case.layer


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5], stall_out=[0.0, 0.5, 0.95])
async def layers_back_to_back(dut: Any, name: str, stall: float, stall_out: float) -> None:
    """Random layers, each told and fed as soon as the unit takes it."""
    bench = Bench(dut, name, stall, stall_out)
    cases = [case(bench.p, random_layer(bench.p, 9)) for _ in range(4)]
    await bench.unit.start()
    cocotb.start_soon(bench.o.check_held())
    feeding = bench.feed(cases)
    for each in cases:
        await bench.check(each)
    for task in feeding:
        await task
    await bench.unit.cycles(100)
    assert not bench.o.valid.value, "more results than there are"
    assert not bench.unit.busy.value


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def cycles_are_those_of_the_model(dut: Any, name: str) -> None:
    """One layer at a time: when it begins, and how long it takes."""
    bench = Bench(dut, name, 0.0, 0.0)
    await bench.unit.start()
    # After a reset, the first layer waits for a while.
    await bench.unit.cycles(100)
    for n in range(8):
        layer = random_layer(bench.p, 12)
        each = case(bench.p, layer)
        prediction = predict(layer, bench.p)
        cocotb.start_soon(bench.check(each))
        bench.feed([each])
        while not (bench.unit.layer__valid.value and bench.unit.layer__ready.value):
            await bench.unit.cycle()
        first = 0
        while not bench.unit.busy.value:
            await bench.unit.cycle()
            first += 1
        cycles = 0
        while bench.unit.busy.value:
            await bench.unit.cycle()
            cycles += 1
        assert (first, cycles) == (prediction.first, prediction.cycles), (n, layer)
        await bench.unit.cycles(layer.kernels * each.fields["rows"] * each.fields["columns"] + 50)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def widths_are_reached(dut: Any, name: str) -> None:
    """Inputs and weights that make the factors at each place as large as they can be."""
    bench = Bench(dut, name, 0.0, 0.0)
    p = bench.p
    f = transform(p.tile)
    await bench.unit.start()
    low, high = limits(p.activation_width)
    common = {"padding": "valid", "shift": p.sum_width - p.activation_width - 1}
    layer = Convolution(
        height=f.size, width=f.size, channels=2, kernels=2, low=low, high=high, **common
    )
    cases = []
    for row in range(f.size):
        for column in range(f.size):
            sides = []
            for matrix, width in ((f.inputs, p.activation_width), (f.weights, p.weight_width)):
                factors = np.outer(matrix[row], matrix[column])
                least, most = limits(width)
                sides.append(np.where(factors > 0, least, most))
            inputs = np.stack([sides[0], -1 - sides[0]])
            weights = np.stack([np.stack([sides[1]] * 2), np.stack([-1 - sides[1]] * 2)])
            cases.append(case(p, layer, inputs, weights))
    bench.feed(cases)
    for each in cases:
        await bench.check(each)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=PAIRED)
async def widths_of_pairs_are_reached(dut: Any, name: str) -> None:
    """Inputs that make each transformed input as large as it can be, and each sum; and weights."""
    bench = Bench(dut, name, 0.0, 0.0)
    p = bench.p
    f = transform(p.tile)
    await bench.unit.start()
    low, high = limits(p.activation_width)
    layer = Convolution(
        height=f.size,
        width=f.size,
        channels=4,
        kernels=2,
        padding="valid",
        shift=p.sum_width - p.activation_width - 1,
        low=low,
        high=high,
        paired=True,
    )
    rng = np.random.default_rng(random.getrandbits(63))
    shape = (layer.kernels, layer.channels, f.size, f.size)
    weights = random_pairs(rng, 1, 1, shape) * rng.choice(limits(p.weight_width), shape)
    factors = [
        np.stack([np.outer(f.inputs[row], f.inputs[column])] * layer.channels)
        for row in range(f.size)
        for column in range(f.size)
    ]
    factors += [*phases(torch.tensor(weights), p.tile).flatten(0, 2).numpy()]
    cases = [
        case(p, layer, inputs, weights)
        for least in (np.where(factor > 0, low, high) for factor in factors)
        for inputs in (least, -1 - least)
    ]
    bench.feed(cases)
    for each in cases:
        await bench.check(each)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, channels=[1, 2, 17, 64])
async def channels(dut: Any, name: str, channels: int) -> None:
    """As many as there can be, with the largest sums."""
    bench = Bench(dut, name, 0.0, 0.0)
    p = bench.p
    await bench.unit.start()
    low, high = limits(p.activation_width)
    layer = Convolution(
        height=3,
        width=5,
        channels=min(-(-channels // p.ways) * p.ways, p.channel_depth),
        kernels=3,
        padding="same",
        shift=max(0, p.sum_width - p.activation_width - 2),
        low=low,
        high=high,
    )
    least = np.full((layer.channels, 3, 5), low)
    smallest = np.full((3, layer.channels, 3, 3), limits(p.weight_width)[0])
    cases = [case(p, layer, least, smallest), case(p, layer)]
    if p.pairs:
        cases.append(case(p, replace(layer, paired=True), least))
    bench.feed(cases)
    for each in cases:
        await bench.check(each)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_drops_everything(dut: Any, name: str) -> None:
    """In the middle of loading, of computing and of putting out."""
    bench = Bench(dut, name, 0.2, 0.2)
    await bench.unit.start()
    for cycles in (1, 10, 60, 150, 300, 600):
        cases = [case(bench.p, random_layer(bench.p, 9)) for _ in range(2)]
        feeding = bench.feed(cases)
        taking = cocotb.start_soon(bench.check(cases[0]))
        await bench.unit.cycles(cycles)
        for task in (*feeding, taking):
            task.cancel()
        for stream in bench.streams.values():
            stream.valid.value = 0
        bench.o.ready.value = 0
        await bench.unit.reset()
        await bench.unit.cycle()
        assert not bench.o.valid.value
        assert not bench.unit.busy.value
    cases = [case(bench.p, random_layer(bench.p, 9)) for _ in range(2)]
    bench.feed(cases)
    for each in cases:
        await bench.check(each)
