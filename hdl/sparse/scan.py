"""Finds the non-zero activations."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Scan", "Step"]


class Step(data.StructLayout):
    """What the elements are told in a cycle.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a block.
    activation_width : :class:`int`
        Bits in an activation.
    """

    def __init__(self, scan_width, activation_width):
        super().__init__(
            {
                "activation": signed(activation_width),
                "lane": range(scan_width),  # which column of the block it belongs to
                "nonzero": 1,  # otherwise there is no activation, only the end of a block
                "done": 1,  # last step of a block
                "final": 1,  # last step of a run
                "bank": 1,  # of the accumulators that the run adds up in
            }
        )


class Scan(wiring.Component):
    """Takes blocks of activations and tells their non-zeros, lowest lane first, one a cycle.

    A block with n non-zeros costs max(n, 1) cycles: its end must be told even if it is all zero,
    for the elements count columns. A step is told one cycle after its block is seen. There is no
    backpressure on steps, but none is begun in a cycle with ``hold``.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a block.
    activation_width : :class:`int`
        Bits in an activation, two's complement.
    depth : :class:`int`
        Blocks in the longest vector.

    Members
    -------
    start : ``In(1)``
        Begins a run of ``blocks`` blocks. Only while not ``busy``.
    blocks : ``In(range(depth + 1))``
        At least 1.
    bank : ``In(1)``
        To stand still while ``busy``.
    i : ``In(stream.Signature(ArrayLayout(signed(activation_width), scan_width)))``
    hold : ``In(1)``
    step : ``Out(Step(scan_width, activation_width))``
    valid : ``Out(1)``
        Whether there is a step in this cycle.
    busy : ``Out(1)``
        Whether steps of the run are yet to begin.
    """

    LATENCY = 1

    def __init__(self, *, scan_width, activation_width, depth):
        self.scan_width = scan_width
        super().__init__(
            {
                "start": In(1),
                "blocks": In(range(depth + 1)),
                "bank": In(1),
                "i": In(stream.Signature(data.ArrayLayout(signed(activation_width), scan_width))),
                "hold": In(1),
                "step": Out(Step(scan_width, activation_width)),
                "valid": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Whether any remain is wanted early, and so has a register of its own.
        remaining = Signal.like(self.blocks)
        with m.If(self.start):
            m.d.sync += [remaining.eq(self.blocks), self.busy.eq(1)]

        # Non-zeros of the block that are yet to be told: all of them when it is first seen.
        told = Signal(self.scan_width)
        nonzero = Cat(self.i.payload[n] != 0 for n in range(self.scan_width))
        left = Signal(self.scan_width)
        m.d.comb += left.eq(nonzero & ~told)

        lane = Signal.like(self.step.lane)
        for n in reversed(range(self.scan_width)):
            with m.If(left[n]):
                m.d.comb += lane.eq(n)
        lowest = Signal(self.scan_width)
        m.d.comb += lowest.eq(left & (~left + 1)[: self.scan_width])
        done = Signal()
        m.d.comb += done.eq(left == lowest)

        go = Signal()
        m.d.comb += go.eq(self.i.valid & self.busy & ~self.hold)
        m.d.comb += self.i.ready.eq(go & done)
        m.d.sync += self.valid.eq(go)
        with m.If(go):
            m.d.sync += [
                told.eq(Mux(done, 0, told | lowest)),
                self.step.activation.eq(self.i.payload[lane]),
                self.step.lane.eq(lane),
                self.step.nonzero.eq(left.any()),
                self.step.done.eq(done),
                self.step.final.eq(done & (remaining == 1)),
                self.step.bank.eq(self.bank),
            ]
            with m.If(done):
                m.d.sync += [remaining.eq(remaining - 1), self.busy.eq(remaining != 1)]

        return m
