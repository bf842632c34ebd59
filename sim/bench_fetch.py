"""Bench of :class:`hdl.sparse.fetch.Fetch`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb
from amaranth.hdl import Shape

from hdl.sparse.fetch import Fetch
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["fetch"])


def half(unit: Unit) -> int:
    """Half of the entries that there have to be; the unit might say something else."""
    return BENCHES["fetch"][unit._name].keywords["weight_depth"] // 2


async def load(unit: Unit, delta_widths: list[int]) -> list[int]:
    """Fill half of the memory for each bank with entries, half of which are escapes."""
    component = unit.component
    entries = []
    assert len(unit.load__addr) == (half(unit) - 1).bit_length()
    for delta_width in delta_widths:
        most = min(component.code_width, component.entry_width - delta_width)
        for _ in range(half(unit)):
            code = random.choice([0, random.randrange(1 << most)])
            entries.append(code << delta_width | random.randrange(1 << delta_width))
    unit.delta_width.value = pack(component.delta_width.shape(), delta_widths)
    pairs = zip(entries[::2], entries[1::2], strict=True)
    await unit.fill(first | second << component.entry_width for first, second in pairs)
    return entries


def random_segments(unit: Unit, count: int) -> list[dict[str, int]]:
    """Segments of both banks that begin and end at odd and even entries.

    They are short, or as long as they can be; the last one of a run may be empty.
    """
    component = unit.component
    layout = component.i.payload.shape()
    longest = (1 << layout["count"].width) - 1
    segments = []
    for _ in range(count):
        length = random.choice([0, 1, 1, 2, 3, longest, random.randint(1, longest)])
        bank = random.getrandbits(1)
        start = random.randint(0, half(unit) - max(length, 1)) + bank * half(unit)
        segment = {
            "start": start,
            "count": length,
            "single": length == 0 or start // 2 == (start + length - 1) // 2,
            "activation": corners(layout["activation"].width),
            "final": length == 0 or random.random() < 0.3,
            "bank": bank,
        }
        segments.append(segment)
    return segments


def words_of(
    unit: Unit, entries: list[int], segment: dict[str, int], delta_widths: list[int]
) -> list[dict[str, Any]]:
    """Words of a segment, with the entries that belong to it; for want of any, an escape."""
    component = unit.component
    mask = (1 << Shape.cast(range(component.row_depth)).width) - 1
    common = {"activation": segment["activation"], "bank": segment["bank"], "last": 0, "final": 0}
    delta_width = delta_widths[segment["bank"]]
    last = segment["start"] + segment["count"] - 1
    words: list[dict[str, Any]] = []
    for address in range(segment["start"] // 2, last // 2 + 1):
        here = []
        for index in range(2 * address, 2 * address + 2):
            if segment["start"] <= index <= last:
                code, delta = divmod(entries[index], 1 << delta_width)
                skips = delta if code else (delta + 1) * 2**delta_width
                here.append({"skips": skips & mask, "code": code, "escape": int(code == 0)})
        words.append({**common, "entries": here})
    if segment["count"] == 0:
        words = [{**common, "entries": [{"escape": 1}]}]
    words[-1] |= {"last": 1, "final": int(segment["final"])}
    return [_told(word) for word in words]


def word(unit: Unit, bits: int) -> dict[str, Any]:
    """A word as :func:`words_of` has it."""
    fields = unpack(unit.component.o.payload.shape(), bits)
    number = 1 + fields.pop("both")
    return _told({**fields, "entries": fields["entries"][:number]})


def _told(word: dict[str, Any]) -> dict[str, Any]:
    """A word without what does not matter: an escape that ends a segment stands for no entry."""
    alone = word["last"] and len(word["entries"]) == 1 and word["entries"][0]["escape"]
    return {**word, "entries": [{"escape": 1}]} if alone else word


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def reads_segments(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """All words of all segments, for every split of an entry, and another one in each bank."""
    unit = Unit(dut, name)
    i, o = Stream(unit, "i", stall=i_stall), Stream(unit, "o", stall=o_stall)
    layout = unit.component.i.payload.shape()
    await unit.start()
    cocotb.start_soon(o.check_held())
    for delta_width in range(1, unit.component.entry_width):
        if o_stall == 0.95 and delta_width > 3:
            break
        delta_widths = [delta_width, random.randrange(1, unit.component.entry_width)]
        random.shuffle(delta_widths)
        entries = await load(unit, delta_widths)
        segments = random_segments(unit, 4 if o_stall == 0.95 else 16)
        expected = [
            word for segment in segments for word in words_of(unit, entries, segment, delta_widths)
        ]
        cocotb.start_soon(i.put_all([pack(layout, segment) for segment in segments]))
        for n, word_ in enumerate(expected):
            actual = word(unit, await o.get())
            assert actual == word_, f"word {n}: {actual} instead of {word_}"
        await unit.cycles(Fetch.LATENCY + 2)
        assert not o.valid.value, "more words than there are"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reads_a_word_a_cycle(dut: Any, name: str) -> None:
    """The first word comes ``LATENCY`` cycles after its segment, then one in each cycle.

    A segment is taken with its last word, so the next one is there in the cycle behind it.
    """
    unit = Unit(dut, name)
    await unit.start()
    entries = await load(unit, [2, 3])
    segments = random_segments(unit, 30)
    words = [words_of(unit, entries, segment, [2, 3]) for segment in segments]
    expected = [word for group in words for word in group]
    waiting = [pack(unit.component.i.payload.shape(), segment) for segment in segments]
    unit.o__ready.value = 1
    unit.i__valid.value = 1
    unit.i__payload.value = waiting.pop(0)
    for n in range(len(expected) + Fetch.LATENCY):
        await unit.cycle()
        assert unit.o__valid.value == (n >= Fetch.LATENCY)
        if n >= Fetch.LATENCY:
            assert word(unit, unit.o__payload.value) == expected[n - Fetch.LATENCY]
        last = n < len(expected) and expected[n]["last"]
        assert bool(unit.i__ready.value) == bool(last)
        if last:
            unit.i__valid.value = bool(waiting)
            unit.i__payload.value = waiting.pop(0) if waiting else 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reads_no_further_than_there_is_room(dut: Any, name: str) -> None:
    """Without a sink, ``ROOM`` words are read; a reset drops them."""
    unit = Unit(dut, name)
    await unit.start()
    entries = await load(unit, [2, 3])
    common = {"final": 1, "bank": 0, "single": 1}
    segments = [
        {"start": n, "count": n % 2, "activation": n, **common} for n in range(Fetch.ROOM + 2)
    ]
    layout = unit.component.i.payload.shape()
    i = Stream(unit, "i")
    for _ in range(2):
        feeding = cocotb.start_soon(i.put_all([pack(layout, segment) for segment in segments]))
        taken = 0
        for _ in range(20):
            await unit.cycle()
            taken += int(i.valid.value & i.ready.value)
        assert taken == Fetch.ROOM
        feeding.cancel()
        i.valid.value = 0
        await unit.reset()
        await unit.cycle()
        assert not unit.o__valid.value
    cocotb.start_soon(i.put(pack(layout, segments[1])))
    actual = word(unit, await Stream(unit, "o").get())
    assert [actual] == words_of(unit, entries, segments[1], [2, 3])
