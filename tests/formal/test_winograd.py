# amaranth: UnusedElaboratable=no
"""Proofs about the Winograd unit: transforms, the division, and what is on offer."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.streams import delayed
from hdl.winograd.collect import Collect
from hdl.winograd.parameters import Parameters
from hdl.winograd.transforms import (
    INPUTS,
    INVERSES,
    OUTPUTS,
    WEIGHTS,
    Sums,
    moduli,
    planes,
    width_of,
)
from hdl.winograd.walk import Walk
from tests.formal.prover import Offer, prove


class IsExact(Elaboratable):
    """Each result is what its row of the matrix says, modulo its bits; in this case, exactly.

    A transform is a chain of these, of which the product of matrices is tested to be the
    definition; so what holds for each holds for all.
    """

    def __init__(self, matrix, operands, results, exact):
        self.dut = Sums(matrix, operands, results)
        self.exact = exact

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        there = delayed(m, Const(1), cycles=dut.LATENCY, name="there")
        past = [delayed(m, dut.i[name], cycles=1, name=f"past_{name}") for name, _ in dut.i.shape()]
        for n, row in enumerate(dut.matrix):
            total = sum(factor * number for factor, number in zip(row, past, strict=True) if factor)
            result = dut.o[str(n)]
            same = result == (total if self.exact else total[: len(result)].as_signed())
            m.d.comb += Assert(~there | same)
        return m


def bits(plane):
    """Of the numbers in each row."""
    return [[width_of(*ends) for ends in row] for row in plane]


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("matrices", [INPUTS, WEIGHTS], ids=["inputs", "weights"])
def test_steps_are_exact(tmp_path, matrices, tile):
    """With the widths of 8-bit operands, along the rows, which is where numbers are largest."""
    steps = matrices[tile]
    stages = planes(steps, 8)[len(steps) :]
    for n, matrix in enumerate(steps):
        # The row with the widest results.
        k = max(range(len(stages[n])), key=lambda k: sum(bits(stages[n + 1])[k]))
        operands, results = bits(stages[n])[k], bits(stages[n + 1])[k]
        top = IsExact(matrix, operands, results, exact=True)
        folder = tmp_path / str(n)
        folder.mkdir()
        # Numbers of so many bits can be beyond what they are when they come from a step.
        ends = stages[n][k]
        prove(Within(top, ends), folder, ports=[top.dut.i], depth=3, mode="bmc")


class Within(Elaboratable):
    """``top``, for operands from their ranges only."""

    def __init__(self, top, ends):
        self.top = top
        self.ends = ends

    def elaborate(self, platform):
        m = self.top.elaborate(platform)
        for n, (low, high) in enumerate(self.ends):
            number = self.top.dut.i[str(n)]
            m.d.comb += Assume((low <= number) & (number <= high))
        return m


@pytest.mark.parametrize("tile", [2, 4])
def test_steps_back_are_right_modulo_their_bits(tmp_path, tile):
    kept = [[30] * tile]
    for matrix in reversed(OUTPUTS[tile]):
        kept.append(moduli(matrix, kept[-1]))
    kept.reverse()
    for n, matrix in enumerate(OUTPUTS[tile]):
        top = IsExact(matrix, kept[n], kept[n + 1], exact=False)
        folder = tmp_path / str(n)
        folder.mkdir()
        prove(top, folder, ports=[top.dut.i], depth=3, mode="bmc")


class Divides(Elaboratable):
    """What was multiplied by nine is what it was, for all numbers."""

    def __init__(self, width):
        self.number = Signal(width)

    def elaborate(self, platform):
        m = Module()
        width = len(self.number)
        value = (self.number * 9)[:width]
        for n, (sign, shift) in enumerate(INVERSES[4]):
            times = Signal(width, name=f"times_{n}")
            m.d.comb += times.eq(value + (value << shift) * sign)
            value = times
        m.d.comb += Assert(value == self.number)
        return m


@pytest.mark.parametrize("width", [7, 10])
def test_division(tmp_path, width):
    """Wider ones take the solver too long: tests/hdl/test_winograd.py goes through all numbers."""
    dut = Divides(width)
    prove(dut, tmp_path, ports=[dut.number], depth=1, mode="bmc")


PARAMETERS = Parameters(
    tile=2,
    kernels=2,
    window_depth=16,
    channel_depth=2,
    kernel_depth=2,
    band_depth=2,
    output_depth=4,
    longest=3,
    sum_width=9,
)


class WalkKeepsTheRule(Elaboratable):
    """Whatever comes of the other units; only layers are to stand."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        m.d.comb += Assume(~ResetSignal())
        Offer(m, self.dut.layer, name="layer").require()
        # The last result of a layer comes once, after its last tile.
        pending = Signal()
        told = self.dut.o
        with m.If(told.valid & told.ready & told.p.result.ends_layer):
            m.d.sync += pending.eq(1)
        with m.Elif(self.dut.finished):
            m.d.sync += pending.eq(0)
        m.d.comb += Assume(~self.dut.finished | pending)
        Offer(m, self.dut.o, name="o").show()
        return m


def test_walk_offer_stands(tmp_path):
    dut = Walk(PARAMETERS)
    ports = [dut.layer.payload, dut.layer.valid, dut.o.ready, dut.written, dut.arrived]
    ports += [dut.loaded, dut.freed, dut.finished, dut.clear]
    prove(WalkKeepsTheRule(dut), tmp_path, ports=ports, depth=12, mode="bmc")


class BlockStands(Elaboratable):
    """So does a block of results, and none is read that there is no room for."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        m.d.comb += Assume(~ResetSignal())
        blocks = m.submodules.blocks
        Offer(m, self.dut.o, name="o").show()
        m.d.comb += Assert(~blocks.i.valid | blocks.i.ready)
        return m


def test_collect_offer_stands(tmp_path):
    dut = Collect(PARAMETERS)
    ports = [dut.i, dut.band.payload, dut.band.valid, dut.o.ready]
    prove(BlockStands(dut), tmp_path, ports=ports, depth=14, mode="bmc")
