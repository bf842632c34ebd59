"""Bench of :class:`hdl.maps.fold.Fold`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
import torch

from golden import joining, pooling
from golden.fixed import requantise
from golden.layers import Addition, AveragePooling, MaxPooling
from hdl.maps.fold import Fold, Operation
from hdl.maps.memory import Item
from hdl.maps.walk import Route
from mapping.maps import (
    Map,
    addition,
    align,
    folding,
    pixels,
    places,
    rectangles,
    windows,
)
from mapping.maps import (
    pack as words_of_map,
)
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["fold"])
LAYOUT = Route(5, 12, 8)


@dataclass
class Work:
    """A folding, the items of its route, and the words that come of them."""

    folding: dict[str, Any]
    items: list[dict[str, Any]]
    words: list[list[int]]
    route: dict[str, Any] | None = None
    """What the items are read on, if they lie in memory."""
    memory: dict[int, list[int]] = field(default_factory=dict)
    """Words by their addresses."""
    target: dict[str, Any] | None = None
    """Route to write the words on, from address 0 on."""


def draw(unit: Unit) -> list[Work]:
    return random.choice([numbers, numbers, pool, pool, add])(unit.component)


def numbers(component: Fold) -> list[Work]:
    """Windows of any length, with extreme numbers, and any factor and shift."""
    width, bits = len(component.o.p[0]), component.accumulator_width
    operation = random.choice(list(Operation))
    factor = corners(len(component.folding.p.factor))
    shift = random.randrange(component.product_width)
    low, high = sorted([corners(width), corners(width)])
    items, totals = [], []
    # Sums of so many words fit.
    most = min(9, 1 << (bits - width))
    for _ in range(random.randint(1, 6)):
        length = 2 if operation is Operation.ADD else random.randint(1, most)
        window = [[corners(width) for _ in range(component.scan_width)] for _ in range(length)]
        inside = [operation is Operation.ADD or random.random() < 0.7 for _ in range(length)]
        inside[random.randrange(length)] = True
        for n, word in enumerate(window):
            items.append({"word": word, "inside": inside[n], "ends_window": n == length - 1})
        for lane in zip(*window, strict=True):
            found = [value for value, there in zip(lane, inside, strict=True) if there]
            if operation is Operation.GREATEST:
                totals.append(max(found) * factor)
            elif operation is Operation.SUM:
                totals.append(sum(found) * factor)
            else:
                totals.append(lane[0] * factor + lane[1])
    for item in items:
        item["ends_route"] = item is items[-1]
    results = requantise(torch.tensor(totals), shift, low, high).numpy()
    fields = {"operation": operation, "factor": factor, "shift": shift, "low": low, "high": high}
    return [Work(fields, items, results.reshape(-1, component.scan_width).tolist())]


def pool(component: Fold) -> list[Work]:
    """A pooling layer, rectangle by rectangle."""
    width = len(component.o.p[0])
    kernel = random.choice([1, 2, 3]), random.choice([1, 2, 3])
    common = {
        "name": "pool",
        "output_radix": 0,
        "activation": random.choice(["none", "relu"]),
        "kernel": kernel,
        "stride": (random.choice([1, 2]), random.choice([1, 2, 3])),
        "padding": tuple(random.randrange(side) for side in kernel * 2),
        "ceil_mode": random.random() < 0.5,
    }
    layer: AveragePooling | MaxPooling = MaxPooling(**common)
    shift = random.randrange(3)
    if random.random() < 0.7:
        counts = random.random() < 0.5
        layer = AveragePooling(**common, count_padding=counts, weight_radix=10)
        shift = random.randrange(8, 12)
    shape = random.randint(3, 5), random.randint(3, 5), random.randint(1, 2 * component.scan_width)
    image = _map(shape, width)
    _, outputs = pooling.layer(layer, torch.from_numpy(image)[None], shift=shift, width=width)
    source = Map.of(shape, scan_width=component.scan_width, base=3)
    target = Map.of(outputs.shape[1:], scan_width=component.scan_width, base=0)
    found = []
    for rectangle, factor in rectangles(layer, shape):
        route = windows(LAYOUT, layer, source, rectangle, channels_last=False)
        part = outputs[0].numpy()[
            rectangle.row : rectangle.row + rectangle.height,
            rectangle.column : rectangle.column + rectangle.width,
        ]
        fields = folding(_layout(component), layer, factor=factor, shift=shift, width=width)
        words = words_of_map(part, component.scan_width).tolist()
        memory = _memory(component, {source: image})
        items = _items(component, route, memory)
        found.append(Work(fields, items, words, route, memory, pixels(LAYOUT, target, rectangle)))
    return found


def add(component: Fold) -> list[Work]:
    """The sum of two maps."""
    width = len(component.o.p[0])
    layer = Addition(name="add", output_radix=0, activation=random.choice(["none", "relu"]))
    radixes = random.randrange(10), random.randrange(10)
    shape = random.randint(1, 3), random.randint(1, 3), random.randint(1, 2 * component.scan_width)
    images = [_map(shape, width) for _ in range(2)]
    shift = random.randrange(12)
    _, outputs = joining.layer(
        layer,
        [torch.from_numpy(image)[None] for image in images],
        radixes=radixes,
        shift=shift,
        width=width,
    )
    sources = [Map.of(shape, scan_width=component.scan_width, base=base) for base in (5, 300)]
    (first, second), factor = align(layer, *radixes)
    route = addition(LAYOUT, sources[first], sources[second])
    fields = folding(_layout(component), layer, factor=factor, shift=shift, width=width)
    memory = _memory(component, dict(zip(sources, images, strict=True)))
    words = words_of_map(outputs[0].numpy(), component.scan_width).tolist()
    target = pixels(LAYOUT, Map.of(shape, scan_width=component.scan_width, base=0))
    return [Work(fields, _items(component, route, memory), words, route, memory, target)]


def _layout(component: Fold) -> Any:
    return component.folding.payload.shape()


def _map(shape: tuple[int, int, int], width: int) -> np.ndarray:
    return np.array([corners(width) for _ in range(int(np.prod(shape)))]).reshape(shape)


def _memory(component: Fold, images: dict[Map, np.ndarray]) -> dict[int, list[int]]:
    """Words of maps by their addresses."""
    words: dict[int, list[int]] = {}
    for source, image in images.items():
        words.update(enumerate(words_of_map(image, component.scan_width).tolist(), source.base))
    return words


def _items(component: Fold, route: dict[str, Any], words: dict[int, list[int]]) -> list[Any]:
    """What is read on a route."""
    found = places(LAYOUT, route)
    columns = [found[key].tolist() for key in ("address", "inside", "ends_window", "ends_route")]
    return [
        {
            "word": words[address] if inside else [0] * component.scan_width,
            "inside": inside,
            "ends_window": ends_window,
            "ends_route": ends_route,
        }
        for address, inside, ends_window, ends_route in zip(*columns, strict=True)
    ]


class Bench:
    def __init__(self, unit: Unit, i_stall: float = 0.0, o_stall: float = 0.0) -> None:
        self.unit = unit
        self.folding = Stream(unit, "folding", stall=i_stall)
        self.i = Stream(unit, "i", stall=i_stall)
        self.o = Stream(unit, "o", stall=o_stall)
        self.word = unit.component.o.payload.shape()

    def put(self, works: list[Work]) -> list[Any]:
        """Tasks that put all foldings, and all items, each as soon as they are taken."""
        layout, item = _layout(self.unit.component), Item(self.word)
        foldings = (pack(layout, work.folding) for work in works)
        items = (pack(item, fields) for work in works for fields in work.items)
        return [
            cocotb.start_soon(self.folding.put_all(foldings)),
            cocotb.start_soon(self.i.put_all(items)),
        ]

    async def check(self, works: list[Work]) -> None:
        for work in works:
            for word in work.words:
                assert unpack(self.word, await self.o.get()) == word, work.folding


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def matches_golden(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """One folding right behind the other, and no word more than there are windows."""
    unit = Unit(dut, name)
    bench = Bench(unit, i_stall, o_stall)
    await unit.start()
    cocotb.start_soon(bench.o.check_held())
    works = [work for _ in range(4 if o_stall > 0.9 else 12) for work in draw(unit)]
    bench.put(works)
    await bench.check(works)
    await unit.cycles(unit.component.latency)
    assert not unit.o__valid.value, "more words than there are windows"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_as_many_cycles_as_words(dut: Any, name: str) -> None:
    """A window's word is there ``latency`` cycles after its last one, if no window waits.

    And windows follow each other as quickly as their words or their lanes let them.
    """
    unit = Unit(dut, name)
    bench = Bench(unit)
    component = unit.component
    lanes = component.scan_width
    layout, item = _layout(component), Item(bench.word)
    fields = {"operation": Operation.SUM, "factor": 1, "shift": 0, "low": -128, "high": 127}
    await unit.start()
    unit.o__ready.value = 1
    for length in 1, 2, 3, 8, 9, 12:
        await bench.folding.put(pack(layout, fields))
        taken, there = [], []
        count = 10
        total, now = count * length, 0
        unit.i__valid.value = 1
        while len(there) < count:
            n = len(taken)
            word = {"word": [1] * lanes, "inside": 1, "ends_window": n % length == length - 1}
            unit.i__payload.value = pack(item, {**word, "ends_route": n == total - 1})
            await unit.cycle()
            if unit.i__valid.value & unit.i__ready.value:
                taken.append(now)
                unit.i__valid.value = len(taken) < total
            if unit.o__valid.value:
                there.append(now)
                assert unpack(bench.word, unit.o__payload.value) == [length] * lanes
            now += 1
        assert there[0] == taken[length - 1] + component.latency
        assert set(np.diff(there).tolist()) == {max(length, lanes)}
        await unit.cycles(2)
        assert not unit.o__valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def waits_for_its_folding(dut: Any, name: str) -> None:
    """No word is taken before its folding, nor a folding before the words of the last are made."""
    unit = Unit(dut, name)
    bench = Bench(unit)
    layout, item = _layout(unit.component), Item(bench.word)
    await unit.start()
    works = [work for _ in range(6) for work in draw(unit)]
    for work in works:
        unit.i__payload.value = pack(item, work.items[0])
        unit.i__valid.value = 1
        for _ in range(3):
            await unit.cycle()
            assert not unit.i__ready.value
        await bench.folding.put(pack(layout, work.folding))
        unit.folding__valid.value = 1
        checking = cocotb.start_soon(bench.check([work]))
        for fields in work.items:
            await bench.i.put(pack(item, fields))
            assert not unit.folding__ready.value
        unit.i__valid.value = 0
        unit.folding__valid.value = 0
        await checking
        await unit.cycles(3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """Wherever it is, and the next folding is as if there had been none."""
    unit = Unit(dut, name)
    bench = Bench(unit)
    await unit.start()
    for cycles in range(2, 40, 3):
        works = draw(unit)
        tasks = bench.put(works)
        await unit.cycles(cycles)
        for task in tasks:
            task.cancel()
        await unit.reset()
        unit.i__valid.value = 0
        unit.folding__valid.value = 0
        await unit.cycle()
        assert not unit.o__valid.value
        works = draw(unit)
        bench.put(works)
        await bench.check(works)
