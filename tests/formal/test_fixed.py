"""Proof that requantisation rounds to the nearest, ties to even, and saturates."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.fixed import Requantise
from hdl.streams import delayed
from tests.formal.prover import prove


class Nearest(Elaboratable):
    """States what the result is by its distance from the quotient, not how to get it."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        # A value of another time does not matter, but the parameters stand still.
        parameters = Cat(dut.shift, dut.low, dut.high)
        later = delayed(m, Const(1), cycles=1, name="later")
        m.d.comb += Assume(~later | (parameters == delayed(m, parameters, cycles=1, name="before")))
        m.d.comb += Assume((dut.low <= dut.high) & (dut.shift < dut.width))
        biased = dut.bias_width is not None
        there = delayed(m, Const(1), cycles=dut.latency + 2 - biased, name="there")
        total = Signal(signed(dut.width))
        m.d.comb += total.eq(dut.value + (dut.bias if biased else 0))

        # Twice the error, in units of the last bit dropped.
        scale = Signal(dut.width)
        error = Signal(signed(2 * dut.width + 2))
        m.d.comb += scale.eq(1 << dut.shift)
        past = delayed(m, total, cycles=dut.latency, name="past")
        m.d.comb += error.eq(2 * past - 2 * dut.o * scale)
        even = ~dut.o[0]
        with m.If(there):
            m.d.comb += Assert((dut.low <= dut.o) & (dut.o <= dut.high))
            with m.If(dut.o != dut.high):
                m.d.comb += Assert((error < scale) | ((error == scale) & even))
            with m.If(dut.o != dut.low):
                m.d.comb += Assert((error > -scale) | ((error == -scale) & even))
        return m


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("bias_width", [None, 6])
def test_requantise(tmp_path, bias_width, deep):
    dut = Requantise(width=10, bias_width=bias_width, result_width=5, deep=deep)
    ports = [dut.value, dut.shift, dut.low, dut.high]
    if bias_width is not None:
        ports.append(dut.bias)
    prove(Nearest(dut), tmp_path, ports=ports, depth=dut.latency + 3)
