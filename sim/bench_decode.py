"""Bench of :class:`hdl.sparse.decode.Decode`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from collections import deque
from itertools import pairwise
from typing import Any, NamedTuple

import cocotb

from hdl.sparse.decode import Decode
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["decode"])


class Segment(NamedTuple):
    """Entries as (skips, code), of which code 0 is an escape; the last one is a weight.

    Only the final segment of a run can be without entries.
    """

    entries: list[tuple[int, int]]
    odd: bool
    activation: int
    final: bool
    bank: int


def random_segment(unit: Unit, escapes: float) -> Segment:
    """Weights, and in front of each a chain of escapes, within the rows that there are."""
    term = unit.component.term.shape()
    depth = {"decode_small": 11, "decode_large": 256}[unit._name]
    codes = (1 << term["code"].width) - 1
    entries: list[tuple[int, int]] = []
    left = depth
    delta_width = random.randrange(term["row"].width)
    for _ in range(random.choice([1, 1, 2, 3, 9])):
        chain = []
        while random.random() < escapes and len(chain) < 6:
            chain.append(random.choice([1, 1, 2, (left >> delta_width) // 4 or 1]) << delta_width)
        left -= sum(chain)
        if left <= 0:
            break
        most = min(1 << delta_width, left) - 1
        skips = random.choice([0, 0, min(1, most), most])
        left -= skips + 1
        entries += [(skip, 0) for skip in chain] + [(skips, random.randint(1, codes))]
    entries = entries or [(depth - 1, codes)]
    final = random.random() < 0.5
    if final and random.random() < 0.4:
        entries = []
    activation = corners(term["activation"].width)
    return Segment(entries, random.random() < 0.5, activation, final, random.getrandbits(1))


def words_of(unit: Unit, segment: Segment) -> list[int]:
    """Words as they are fetched; what stands for no entry is an escape, or else arbitrary."""
    layout = unit.component.word
    width = layout["entries"].shape.elem_shape["skips"].width
    slots = segment.entries or [(random.getrandbits(width), 0)]
    first = 1 if segment.odd else 2
    pairs = [slots[:first], *(slots[at : at + 2] for at in range(first, len(slots), 2))]
    words = []
    for n, pair in enumerate(pairs):
        entries = []
        for skips, code in [*pair, (random.getrandbits(width), random.getrandbits(2))][:2]:
            skips &= (1 << width) - 1
            entries.append({"skips": skips, "code": code, "escape": int(code == 0)})
        both, last = len(pair) == 2, n == len(pairs) - 1
        fields = {"entries": entries, "both": both, "last": last, "final": last and segment.final}
        fields |= {"activation": segment.activation, "bank": segment.bank}
        words.append(pack(layout, fields))
    return words


def terms_of(segment: Segment) -> list[tuple[dict[str, int], int]]:
    """Terms, and which of the segment's words each comes with."""
    terms, row = [], -1
    for n, (skips, code) in enumerate(segment.entries):
        row += skips
        if code:
            row += 1
            common = {"activation": segment.activation, "bank": segment.bank}
            terms.append(({"row": row, "code": code, **common}, (n + segment.odd) // 2))
    return terms


def cycles_of(segment: Segment) -> int:
    """One for a term, and for each escape in front of another one."""
    codes = [code for _, code in segment.entries]
    chains = sum(code == after == 0 for code, after in pairwise(codes))
    return sum(code != 0 for code in codes) + chains


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES, escapes=[0.0, 0.4, 0.9], i_stall=[0.0, 0.5, 0.95])
async def gives_terms(dut: Any, name: str, escapes: float, i_stall: float) -> None:
    """All terms of all segments in their order, announced a cycle before.

    A cycle after the last term of a run, or where it would be, ``finished`` turns.
    """
    unit = Unit(dut, name)
    count = 20 if i_stall == 0.95 else 200
    segments = [random_segment(unit, escapes) for _ in range(count)]
    # Terms, or None in the place of a segment without any; the word that brings it, and what turns.
    due: deque[tuple[dict[str, int] | None, int, int]] = deque()
    words: list[int] = []
    for segment in segments:
        turns = segment.final << segment.bank
        terms = terms_of(segment) or [(None, 0)]
        for n, (term, word) in enumerate(terms, start=1):
            due.append((term, len(words) + word, turns * (n == len(terms))))
        words += words_of(unit, segment)
    await unit.start()
    feeding = cocotb.start_soon(Stream(unit, "i", stall=i_stall).put_all(words))
    expected, finished, told, taken, idle = None, 0, 0, 0, 0
    while idle < 4:
        await unit.cycle()
        assert unit.valid.value == (expected is not None)
        if expected:
            assert unpack(unit.component.term.shape(), unit.term.value) == expected
        assert unit.finished.value == told
        told = finished
        # What was taken before is at hand when all that comes before it is done.
        term, word, turns = due[0] if due else (None, taken, 0)
        expected = term if unit.gives.value else None
        if unit.gives.value or (term is None and word < taken):
            finished ^= turns
            due.popleft()
        if term is None:
            assert not unit.works.value
        elif word < taken:
            assert unit.works.value
        assert not unit.gives.value or unit.works.value
        taken += int(unit.i__valid.value & unit.i__ready.value)
        idle = 0 if due else idle + 1
    assert feeding.done()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, escapes=[0.0, 0.4, 0.9], odd=[False, True])
async def absorbs_escapes(dut: Any, name: str, escapes: float, odd: bool) -> None:
    """With words on offer all the time, an escape before a weight costs no cycle.

    Unless there are more words than terms: an escape that comes first, at an odd entry, is in a
    word of its own, which takes a cycle to come. So does a word without entries.
    """
    unit = Unit(dut, name)
    segments = [random_segment(unit, escapes) for _ in range(140)]
    if not odd:
        segments = [segment._replace(odd=False) for segment in segments]
    segments.append(Segment([(1, 1)], odd=False, activation=1, final=True, bank=0))
    words = [word for segment in segments for word in words_of(unit, segment)]
    await unit.start()
    cocotb.start_soon(Stream(unit, "i").put_all(words))
    cycles = works = gives = 0
    while gives < sum(len(terms_of(segment)) for segment in segments):
        await unit.cycle()
        cycles += 1
        works += int(unit.works.value)
        gives += int(unit.gives.value)
    assert works == sum(map(cycles_of, segments))
    at_first = sum(
        segment.odd and any(code == 0 for _, code in segment.entries[:1]) for segment in segments
    )
    # Nothing is there to be taken in the first cycle.
    idle = cycles - works - 1 - sum(not segment.entries for segment in segments)
    assert 0 <= idle <= at_first


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def first_term_takes_latency(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    segment = Segment([(2, 0), (1, 1)], odd=False, activation=-1, final=True, bank=1)
    await unit.start()
    (unit.i__payload.value,) = words_of(unit, segment)
    unit.i__valid.value = 1
    told = Decode.LATENCY + Decode.END_LATENCY - 1
    for n in range(told + 1):
        await unit.cycle()
        unit.i__valid.value = 0
        assert unit.valid.value == (n == Decode.LATENCY)
        if unit.valid.value:
            assert unpack(unit.component.term.shape(), unit.term.value)["row"] == 3
        assert unit.finished.value == (0b10 if n == told else 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """After a reset in the middle of a segment, rows begin at the first again."""
    unit = Unit(dut, name)
    entries = [(1, 1), (4, 0), (2, 0), (1, 1), (0, 1)]
    segment = Segment(entries, odd=False, activation=1, final=True, bank=0)
    await unit.start()
    i = Stream(unit, "i")
    await i.put_all(words_of(unit, segment._replace(entries=[])))
    await i.put_all(words_of(unit, segment)[:2])
    await unit.cycle()
    assert unit.finished.value == 1
    await unit.reset()
    await unit.cycle()
    assert not unit.finished.value
    assert not unit.works.value
    assert not unit.valid.value
    cocotb.start_soon(i.put_all(words_of(unit, segment)))
    rows = []
    for _ in range(8):
        await unit.cycle()
        if unit.valid.value:
            rows.append(unpack(unit.component.term.shape(), unit.term.value)["row"])
    assert rows == [term["row"] for term, _ in terms_of(segment)]
