"""Bench of :class:`hdl.maps.walk.Walk`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.maps.walk import Place, Route, Walk
from mapping.maps import Loop, Map, places, route
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["walk"])
FIELDS = ("address", "inside", "ends_window", "ends_route")


def draw(layout: Route) -> dict[str, Any]:
    """A random route, of at most about a hundred places."""
    levels = layout["levels"].shape.length
    loops: list[Loop] = []
    room = random.choice([1, 10, 100])
    for _ in range(levels):
        count = random.randint(1, min(room, 12)) if random.random() < 0.7 else 1
        room //= count
        # Where it goes on alone, a level may have a stride that reaches far.
        step = random.choice([0, 0, 1, 1, -1, 2])
        other = random.choice([0, 0, 1, -1, 3])
        far = random.getrandbits(layout["address"].width) if random.random() < 0.5 else 1
        loops.append(Loop(count, *random.choice([(step, other), (other, step)]), far))
    half = 1 << (layout["row"].width - 1)
    # The first place is such that none is beyond what a coordinate has bits for.
    first = []
    for axis in 1, 2:
        ways = [(loop.count - 1) * loop[axis] for loop in loops]
        low, high = (sum(f(way, 0) for way in ways) for f in (min, max))
        least, most = -half - low, half - 1 - high
        if least > most:
            return draw(layout)
        first.append(random.randint(max(least, min(-4, most)), min(most, max(2, least))))
    depth = 1 << layout["address"].width
    height = random.randint(1, min(half - 1, depth, 9))
    width = random.randint(1, min(half - 1, depth // height, 9))
    base = random.randint(0, depth - height * width)
    source = Map(height=height, width=width, words=1, base=base, pitch=1)
    inner = random.randint(0, levels)
    return route(layout, loops, inner=inner, source=source, row=first[0], column=first[1])


def told(layout: Route, fields: dict[str, Any]) -> list[dict[str, int]]:
    """Places as they should come."""
    found = places(layout, fields)
    columns = [found[key].astype(int).tolist() for key in FIELDS]
    return [dict(zip(FIELDS, row, strict=True)) for row in zip(*columns, strict=True)]


def layout_of(unit: Unit) -> Route:
    return unit.component.route.payload.shape()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.8], o_stall=[0.0, 0.5, 0.95])
async def matches_model(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """Routes one right behind the other, and nothing after the last one."""
    unit = Unit(dut, name)
    i, o = Stream(unit, "route", stall=i_stall), Stream(unit, "o", stall=o_stall)
    layout, place = layout_of(unit), Place(len(unit.component.o.p.address))
    await unit.start()
    cocotb.start_soon(o.check_held())
    routes = [draw(layout) for _ in range(8 if o_stall > 0.9 else 25)]
    cocotb.start_soon(i.put_all(pack(layout, fields) for fields in routes))
    for fields in routes:
        for expected in told(layout, fields):
            assert unpack(place, await o.get()) == expected
    await unit.cycles(2 * Walk.LATENCY)
    assert not unit.o__valid.value, "more places than the route has"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def tells_one_a_cycle(dut: Any, name: str) -> None:
    """The first is on offer ``LATENCY`` cycles after the route was, and each other a cycle later.

    A route that waits is taken while the last place of the one before is on offer.
    """
    unit = Unit(dut, name)
    layout = layout_of(unit)
    await unit.start()
    unit.o__ready.value = 1
    unit.route__valid.value = 1
    for _ in range(12):
        fields = draw(layout)
        unit.route__payload.value = pack(layout, fields)
        await unit.cycle()
        assert unit.route__ready.value
        for n in range(1, Walk.LATENCY):
            await unit.cycle()
            assert not unit.o__valid.value, n
        total = len(places(layout, fields)["address"])
        for n in range(total - 1):
            await unit.cycle()
            assert unit.o__valid.value
            assert not unit.route__ready.value, n
    await unit.cycle()
    assert unit.o__valid.value
    assert unit.route__ready.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """Wherever it is in a route, and the next one is told from its beginning on."""
    unit = Unit(dut, name)
    layout, place = layout_of(unit), Place(len(unit.component.o.p.address))
    i, o = Stream(unit, "route"), Stream(unit, "o")
    await unit.start()
    for cycles in range(6):
        fields = draw(layout)
        await i.put(pack(layout, fields))
        unit.o__ready.value = 1
        await unit.cycles(cycles)
        unit.o__ready.value = 0
        await unit.reset()
        await unit.cycle()
        assert not unit.o__valid.value
        cocotb.start_soon(i.put(pack(layout, fields)))
        for expected in told(layout, fields):
            assert unpack(place, await o.get()) == expected
