"""Bench of the units of :mod:`hdl.maps` in a row. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.maps.memory import Item, Write
from hdl.maps.walk import Place, Route
from mapping.maps import places
from sim.bench_fold import Work, add, pool
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["maps"])


async def load(unit: Unit, words: dict[int, list[int]]) -> None:
    source = unit.component.memories[0]
    layout, write = Write(source.shape, source.address_width), Stream(unit, "write")
    for address, word in words.items():
        await write.put(pack(layout, {"address": address, "word": word}))
    while not unit.idle.value:
        await unit.cycle()


async def run(unit: Unit, works: list[Work]) -> None:
    """Put all there is to tell, each as soon as it is taken, and wait for longer than it takes."""
    routes = [Route(5, memory.address_width, 8) for memory in unit.component.memories]
    for name, layout, fields in (
        ("route", routes[0], [work.route for work in works]),
        ("target", routes[1], [work.target for work in works]),
        ("folding", unit.component.fold.folding.payload.shape(), [work.folding for work in works]),
    ):
        # Any of them can come long after the others.
        stream = Stream(unit, name, stall=random.choice([0.0, 0.98]))
        cocotb.start_soon(stream.put_all([pack(layout, one) for one in fields]))
    most = sum(200 + 4 * len(work.items) + 8 * len(work.words) for work in works)
    await unit.cycles(300 + most)


async def check(unit: Unit, words: list[list[int]]) -> None:
    """Read the results, in the order in which they lie in memory."""
    result = unit.component.memories[1]
    place, item = Place(result.address_width), Item(result.shape)
    read, data = Stream(unit, "read"), Stream(unit, "data")
    asked = [pack(place, {"address": n, "inside": 1}) for n in range(len(words))]
    cocotb.start_soon(read.put_all(asked))
    for n, word in enumerate(words):
        assert unpack(item, await data.get())["word"] == word, n


def in_memory(works: list[Work], unit: Unit) -> list[list[int]]:
    """Words of all rectangles where they are written."""
    layout = Route(5, unit.component.memories[1].address_width, 8)
    words: dict[int, list[int]] = {}
    for work in works:
        addresses = places(layout, work.target)["address"].tolist()
        words.update(zip(addresses, work.words, strict=True))
    return [words[n] for n in range(len(words))]


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=["pool", "add"])
async def layers_match_golden(dut: Any, name: str, kind: str) -> None:
    """Layers of all rectangles, from a map in one memory to a map in another."""
    unit = Unit(dut, name)
    await unit.start()
    for _ in range(5):
        works = {"pool": pool, "add": add}[kind](unit.component.fold)
        await load(unit, works[0].memory)
        await run(unit, works)
        await check(unit, in_memory(works, unit))
