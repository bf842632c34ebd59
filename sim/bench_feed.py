"""Bench of :class:`hdl.maps.feed.Feed`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb
from amaranth.hdl import Value

from hdl.maps.feed import Feed
from sim.streams import Stream, Unit, pack
from sim.units import BENCHES

NAMES = list(BENCHES["feed"])
PORTS = ("biases", "codebook", "weights")


class Layers:
    """A unit, its memory, and what it should give."""

    def __init__(self, unit: Unit, stall: float = 0.0) -> None:
        self.unit, self.p = unit, unit.component.parameters
        self.layer = Stream(unit, "layer", stall=stall)
        self.outputs = {name: Stream(unit, name, stall=stall) for name in PORTS}
        self.depth = 1 << len(unit.component.load.addr)
        width = Feed.item_width(self.p)
        self.items = [random.getrandbits(width) for _ in range(self.depth)]

    def draw(self) -> dict[str, int]:
        """A layer that is somewhere in memory."""
        kernels = random.choice([1, 2, random.randint(1, self.p.kernel_depth)])
        most = self.depth - kernels - (1 << self.p.code_width)
        beats = random.choice([1, 2, random.randint(1, min(most, 20))])
        first = random.randint(0, most - beats)
        bands = random.randint(1, 4)
        return {"first": first, "kernels": kernels, "beats": beats, "bands": bands}

    def expected(self, told: dict[str, int]) -> list[list[int]]:
        """Items of each port."""
        values = 1 << self.p.code_width
        ends = [told["first"], told["first"] + told["kernels"]]
        ends += [ends[-1] + values, ends[-1] + values + told["beats"]]
        found = [self.items[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        found[-1] *= told["bands"]
        widths = [len(Value.cast(getattr(self.unit.component, name).payload)) for name in PORTS]
        return [
            [item & ((1 << width) - 1) for item in items]
            for items, width in zip(found, widths, strict=True)
        ]

    async def run(self, told: dict[str, int]) -> None:
        """Tell a layer, and check what comes, one kind after another."""
        layout = self.unit.component.layer.payload.shape()
        telling = cocotb.start_soon(self.layer.put(pack(layout, told)))
        for (name, stream), items in zip(self.outputs.items(), self.expected(told), strict=True):
            assert [int(x) for x in await stream.get_all(len(items))] == items, name
        await telling


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5])
async def gives_items_in_order(dut: Any, name: str, stall: float) -> None:
    unit = Unit(dut, name)
    await unit.start()
    layers = Layers(unit, stall)
    await unit.fill(layers.items)
    for _ in range(12):
        await layers.run(layers.draw())
        await unit.cycle()
        assert not any(stream.valid.value for stream in layers.outputs.values())


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_as_long_as_said(dut: Any, name: str) -> None:
    """The first item after ``LATENCY`` cycles, and then one in each."""
    unit = Unit(dut, name)
    await unit.start()
    layers = Layers(unit)
    await unit.fill(layers.items)
    told = layers.draw()
    count = sum(map(len, layers.expected(told)))
    streams = layers.outputs.values()
    for stream in streams:
        stream.ready.value = 1
    layout = unit.component.layer.payload.shape()
    await layers.layer.put(pack(layout, told))
    for cycle in range(1, Feed.LATENCY + count + 3):
        await unit.cycle()
        valid = sum(int(stream.valid.value) for stream in streams)
        assert valid == (Feed.LATENCY <= cycle < Feed.LATENCY + count), cycle


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_in_the_middle(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    await unit.start()
    layers = Layers(unit)
    await unit.fill(layers.items)
    for _ in range(4):
        running = cocotb.start_soon(layers.run(layers.draw()))
        await unit.cycles(random.randint(2, 20))
        running.cancel()
        layers.layer.valid.value = 0
        await unit.reset()
        await layers.run(layers.draw())
