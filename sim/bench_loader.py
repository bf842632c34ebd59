"""Bench of :class:`hdl.loader.Loader`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.loader import Header, Space, spaces
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["loader"])
SPACE = Header.as_shape()["space"].offset


class Packets:
    """Beats of packets, and what is to come of them."""

    def __init__(self, unit: Unit) -> None:
        self.c = unit.component.configuration
        self.sizes = {space.value: size for space, size in spaces(self.c).items()}
        self.beats: list[int] = []
        self.begins: list[int] = []
        self.writes: list[tuple[int, int, int, int]] = []

    def add(self, space: int, element: int, count: int) -> None:
        """A packet of ``count`` items."""
        self._begin(space, element, count)
        width, depth = self.sizes.get(space, (32, 0))
        for address in range(count):
            item = random.getrandbits(width)
            self.beats += [item >> n & 0xFFFFFFFF for n in range(0, width, 32)]
            if address < depth and element < self.c.elements:
                self.writes.append((space, element, address, item))

    def add_random(self) -> None:
        space = random.choice([*self.sizes, *self.sizes, 0, Space.RUN.value + 2, 15])
        _, depth = self.sizes.get(space, (32, 8))
        element = random.choice([0, self.c.elements - 1, self.c.elements, 255])
        few = min(depth, 6)
        self.add(space, element, random.choice([0, 1, few, random.randint(1, few)]))

    def run(self) -> None:
        self._begin(Space.RUN.value, 0, 0)

    def report(self) -> None:
        """Ask for a report. The number of items of such a packet means nothing."""
        self._begin(Space.REPORT.value, 0, random.choice([0, 5]))

    def _begin(self, space: int, element: int, count: int) -> None:
        self.begins.append(len(self.beats))
        fields = {"count": count, "element": element, "space": Space.RUN}
        # Not every number is a space.
        self.beats.append(pack(Header, fields) & ~(15 << SPACE) | space << SPACE)


async def check(unit: Unit, packets: Packets, stall: float, idle: float) -> None:
    """Send the packets and check every cycle."""
    layout = unit.component.write.shape()
    i = Stream(unit, "i", stall=stall)
    feeding = cocotb.start_soon(i.put_all(packets.beats))
    begins, writes = {*packets.begins}, [*packets.writes]
    taken, enabled, last = 0, int(unit.enabled.value), 3
    while last:
        unit.idle.value = random.random() < idle
        await unit.cycle()
        takes = bool(i.valid.value and i.ready.value)
        opens = takes and taken in begins
        space = packets.beats[taken] >> SPACE if takes else None
        assert unit.begins.value == opens
        assert not opens or unit.idle.value, "a packet begins in the middle of something"
        assert unit.report.value == (opens and space == Space.REPORT.value)
        assert unit.enabled.value == enabled
        if opens and space != Space.REPORT.value:
            enabled = int(space == Space.RUN.value)
        if unit.valid.value:
            fields = unpack(layout, unit.write.value)
            space, element, address, item = writes.pop(0)
            width, _ = packets.sizes[space]
            assert (fields["space"], fields["address"]) == (space, address)
            assert fields["element"] == element
            assert fields["data"] & ((1 << width) - 1) == item
        taken += takes
        last -= feeding.done()
    assert taken == len(packets.beats)
    assert not writes, f"{len(writes)} items were not written"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5], idle=[1.0, 0.5, 0.05])
async def takes_packets_apart(dut: Any, name: str, stall: float, idle: float) -> None:
    """Packets of all kinds, for elements that there are and that there are not."""
    unit = Unit(dut, name)
    packets = Packets(unit)
    for _ in range(12):
        packets.add_random()
        random.choice([packets.run, packets.report, packets.add_random])()
    await unit.start()
    await check(unit, packets, stall, idle)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def fills_memories(dut: Any, name: str) -> None:
    """Every memory to its end, with one item too many, which is dropped."""
    unit = Unit(dut, name)
    packets = Packets(unit)
    for space, (_, depth) in packets.sizes.items():
        packets.add(space, packets.c.elements - 1, depth + 1)
    packets.run()
    await unit.start()
    await check(unit, packets, 0.0, 1.0)
    assert unit.enabled.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """After a reset in the middle of an item, the next beat is a header."""
    unit = Unit(dut, name)
    half = Packets(unit)
    half.add(Space.LAYERS.value, 0, 2)
    await unit.start()
    unit.idle.value = 1
    await Stream(unit, "i").put_all(half.beats[:2])
    await unit.reset()
    packets = Packets(unit)
    packets.add(Space.COUNTS.value, 0, 2)
    packets.add(Space.LAYERS.value, 0, 2)
    await check(unit, packets, 0.0, 1.0)
