"""Bench of :class:`hdl.fixed.Requantise`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb
import torch

from golden.fixed import limits, requantise
from sim.streams import Unit, corners, signed
from sim.units import BENCHES

NAMES = list(BENCHES["requantise"])


def operands(width: int, bias_width: int, result_width: int, shift: int) -> list[tuple[int, int]]:
    """Pairs of value and bias whose sums lie at, and next to, what decides about rounding."""
    high = (1 << (width - 1)) - 1
    pairs = [(corners(width), corners(bias_width)) for _ in range(30)]
    for quotient in (0, 1, -1, 2, -2, (1 << (result_width - 1)) - 1, -(1 << (result_width - 1))):
        for rest in (0, 1, (1 << shift) >> 1, ((1 << shift) >> 1) + 1, (1 << shift) - 1):
            total = (quotient << shift) + rest + random.choice([-1, 0])
            bias = corners(bias_width)
            if -high - 1 <= total - bias <= high:
                pairs.append((total - bias, bias))
    random.shuffle(pairs)
    return pairs


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, activation=["none", "relu"])
async def matches_golden(dut: Any, name: str, activation: str) -> None:
    """One result a cycle, ``latency`` cycles after its operands, for every shift."""
    unit = Unit(dut, name)
    width, bias_width = unit.component.width, len(unit.component.bias)
    result_width = len(unit.component.o)
    low, high = limits(result_width, activation)
    await unit.start()
    for shift in range(width):
        unit.shift.value = shift
        unit.low.value = low & ((1 << result_width) - 1)
        unit.high.value = high
        await unit.cycle()
        pairs = operands(width, bias_width, result_width, shift)
        totals = [signed(value + bias, width) for value, bias in pairs]
        expected = requantise(torch.tensor(totals), shift, low, high).tolist()
        # An edge sees operands that were set after the one before.
        for n in range(len(pairs) + unit.component.latency + 1):
            if n < len(pairs):
                value, bias = pairs[n]
                unit.value.value = value & ((1 << width) - 1)
                unit.bias.value = bias & ((1 << bias_width) - 1)
            await unit.cycle()
            if n >= unit.component.latency and n - unit.component.latency < len(pairs):
                at = n - unit.component.latency
                actual = signed(unit.o.value, result_width)
                assert actual == expected[at], f"{totals[at]} >> {shift}: {actual}"
