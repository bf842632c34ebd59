"""Bench of :class:`hdl.sparse.drain.Drain`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from collections import deque
from typing import Any

import cocotb
import torch

from golden.fixed import limits, requantise
from hdl.sparse.drain import Drain, Scaling
from hdl.sparse.run import Origin
from sim.runs import random_runs
from sim.streams import Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["drain"])

# As docs/memory.md has it.
BIAS_WIDTH = 32


async def load(unit: Unit) -> list[int]:
    """Fill the memory of biases."""
    c = unit.component.configuration
    width = min(BIAS_WIDTH, c.accumulator_width - 1)
    lanes, mask = c.scan_width, (1 << BIAS_WIDTH) - 1
    biases = [corners(width) for _ in range(unit.component.bias_words * lanes)]
    blocks = [biases[at : at + lanes] for at in range(0, len(biases), lanes)]
    await unit.fill(
        sum((bias & mask) << n * BIAS_WIDTH for n, bias in enumerate(block)) for block in blocks
    )
    return biases


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def drains_layers(dut: Any, name: str) -> None:
    """Every layer from ``latency`` cycles after its start on, a block a cycle, in any order."""
    unit = Unit(dut, name)
    c = unit.component.configuration
    groups = c.elements // c.scan_width
    await unit.start()
    biases = await load(unit)
    words = unit.component.bias_words
    most = min(c.row_depth, words // 2 // groups)
    layers = [rows for rows in (1, c.row_depth, 2, 5) if rows <= most]
    while sum(layers) * groups > words:
        layers.pop()
    splits = [c.ways > 1 and bool(random.getrandbits(1)) for _ in layers]
    sizes = [
        rows * c.elements // (c.ways if split else 1)
        for rows, split in zip(layers, splits, strict=True)
    ]
    for origin, layer in random_runs(len(layers), 16, stages=c.stages):
        rows, split, positions = layers[layer], splits[layer], sizes[layer]
        base = sum(sizes[:layer])
        teams = c.ways if split else 1
        # A bias is as wide as the sum or shorter; together, and with the other ways, they fit.
        width = c.accumulator_width - 1 - (teams - 1).bit_length()
        sums = [[corners(width) for _ in range(c.elements)] for _ in range(rows)]
        shift = random.choice([0, 1, 7, c.accumulator_width - 1])
        activation = random.choice(["none", "relu"])
        low, high = limits(c.activation_width, activation)
        totals = torch.tensor(sums).reshape(rows, teams, -1).sum(dim=1).flatten()
        totals += torch.tensor(biases)[base : base + positions]
        expected = requantise(totals, shift, low, high).reshape(-1, c.scan_width).tolist()
        scaling = {"rows": rows, "split": split, "shift": shift, "low": low, "high": high}
        await drain(unit, scaling, origin, sums, expected)


async def drain(
    unit: Unit, scaling: dict[str, int], origin: Origin, sums: list[list[int]], expected: list
) -> None:
    """Start, and check every cycle until it is not busy any more."""
    layout = unit.component.drained.shape()
    block = unit.component.o.shape()
    c = unit.component.configuration
    assert not unit.busy.value
    assert not unit.reading.value
    unit.start_.value = 1
    unit.origin.value = origin.value
    unit.scaling.value = pack(Scaling(c), scaling)
    await unit.cycle()
    unit.start_.value = 0
    # What is not sampled with the start may change.
    unit.origin.value = random.choice([*Origin]).value
    unit.scaling.value = random.getrandbits(20)
    # Rows on their way from the elements, and what is left of one in the chain.
    asked: deque[int | None] = deque([None] * Drain.READ_LATENCY)
    lanes, firsts = c.scan_width, range(0, c.elements, c.way_elements)
    chain: list[int] = []
    latency = Drain.LATENCY
    last = latency + len(expected) - 1
    # Each row is asked for once, and then has all of its groups to be put out.
    groups = c.groups // (c.ways if scaling["split"] else 1)
    reads = {1 + row * groups: row for row in range(scaling["rows"])}
    for n in range(1, last + 2):
        arrives = asked.popleft()
        if arrives is not None:
            chain = sums[arrives]
        chain = chain + [random.getrandbits(8)] * (c.elements - len(chain))
        unit.drained.value = pack(layout, [chain[n : n + lanes] for n in firsts])
        chain = chain[lanes:]
        await unit.cycle()
        asked.append(int(unit.row.value) if unit.read.value else None)
        assert asked[-1] == reads.get(n)
        assert unit.reading.value == (n < max(reads))
        assert unit.busy.value == (n <= last)
        assert unit.valid.value == (latency <= n <= last)
        if unit.valid.value:
            at = n - latency
            assert unpack(block, unit.o.value) == expected[at]
            assert unit.ends.value == (n == last)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_stops(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    await unit.start()
    fields = {"rows": 2, "shift": 0, "low": 0, "high": 0}
    unit.scaling.value = pack(Scaling(unit.component.configuration), fields)
    unit.start_.value = 1
    await unit.cycle()
    unit.start_.value = 0
    await unit.cycles(3)
    await unit.reset()
    for _ in range(Drain.LATENCY + 2):
        await unit.cycle()
        assert not unit.busy.value
        assert not unit.valid.value
        assert not unit.read.value
        assert not unit.reading.value
