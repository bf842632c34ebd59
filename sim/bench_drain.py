"""Bench of :class:`hdl.sparse.drain.Drain`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from collections import deque
from typing import Any

import cocotb
import torch

from golden.fixed import limits, requantise
from hdl.sparse.drain import BIAS_WIDTH, Drain, Scaling
from sim.streams import Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["drain"])


async def load(unit: Unit) -> list[int]:
    """Fill the memory of biases."""
    c = unit.component.configuration
    width = min(BIAS_WIDTH, c.accumulator_width - 1)
    biases = [corners(width) for _ in range(unit.component.bias_words * c.scan_width)]
    unit.load__en.value = 1
    for address in range(unit.component.bias_words):
        word = biases[address * c.scan_width : (address + 1) * c.scan_width]
        bits = [bias & ((1 << BIAS_WIDTH) - 1) for bias in word]
        unit.load__addr.value = address
        unit.load__data.value = sum(bias << n * BIAS_WIDTH for n, bias in enumerate(bits))
        await unit.cycle()
    unit.load__en.value = 0
    return biases


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def drains_layers(dut: Any, name: str) -> None:
    """Every layer from ``latency`` cycles after its start on, a block a cycle; twice over."""
    unit = Unit(dut, name)
    c = unit.component.configuration
    groups = c.elements // c.scan_width
    await unit.start()
    biases = await load(unit)
    words = unit.component.bias_words
    layers = [rows for rows in (1, c.row_depth, 2, 5) if rows * groups <= words // 2]
    while sum(layers) * groups > words:
        layers.pop()
    for index, rows in [*enumerate(layers)] * 2:
        if index == 0:
            base = 0
        split = c.ways > 1 and bool(random.getrandbits(1))
        teams = c.ways if split else 1
        positions = rows * c.elements // teams
        # A bias is as wide as the sum or shorter; together, and with the other ways, they fit.
        width = c.accumulator_width - 1 - (teams - 1).bit_length()
        sums = [[corners(width) for _ in range(c.elements)] for _ in range(rows)]
        shift = random.choice([0, 1, 7, c.accumulator_width - 1])
        activation = random.choice(["none", "relu"])
        low, high = limits(c.activation_width, activation)
        totals = torch.tensor(sums).reshape(rows, teams, -1).sum(dim=1).flatten()
        totals += torch.tensor(biases)[base : base + positions]
        base += positions
        expected = requantise(totals, shift, low, high).reshape(-1, c.scan_width).tolist()
        scaling = {"rows": rows, "split": split, "shift": shift, "low": low, "high": high}
        await drain(unit, scaling, index == 0, sums, expected)


async def drain(
    unit: Unit, scaling: dict[str, int], first: bool, sums: list[list[int]], expected: list
) -> None:
    """Start, and check every cycle until it is not busy any more."""
    layout = unit.component.drained.shape()
    block = unit.component.o.shape()
    assert not unit.busy.value
    unit.start_.value = 1
    unit.restart.value = first
    unit.scaling.value = pack(Scaling(unit.component.configuration), scaling)
    await unit.cycle()
    unit.start_.value = 0
    # What is not sampled with the start may change.
    unit.restart.value = random.getrandbits(1)
    unit.scaling.value = random.getrandbits(20)
    # Rows on their way from the elements.
    asked: deque[int | None] = deque([None] * Drain.READ_LATENCY)
    read = 0
    latency = Drain.latency(unit.component.configuration)
    last = latency + len(expected) - 1
    for n in range(1, last + 2):
        arrives = asked.popleft()
        if arrives is not None:
            unit.drained.value = pack(layout, sums[arrives])
        await unit.cycle()
        asked.append(int(unit.row.value) if unit.read.value else None)
        read += int(unit.read.value)
        assert unit.busy.value == (n <= last)
        assert unit.valid.value == (latency <= n <= last)
        if unit.valid.value:
            at = n - latency
            assert unpack(block, unit.o.value) == expected[at]
            assert unit.ends.value == (n == last)
    assert read == scaling["rows"]


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
    for _ in range(Drain.latency(unit.component.configuration) + 2):
        await unit.cycle()
        assert not unit.busy.value
        assert not unit.valid.value
        assert not unit.read.value
