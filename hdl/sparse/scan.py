"""Finds the non-zero activations."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.sparse.run import Origin

__all__ = ["Block", "Scan", "Share", "Step", "few"]


class Block(data.StructLayout):
    """Activations that are transferred and scanned together.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a block.
    activation_width : :class:`int`
        Bits in an activation, two's complement.
    """

    def __init__(self, scan_width, activation_width):
        super().__init__(
            {
                "activations": data.ArrayLayout(signed(activation_width), scan_width),
                "nonzero": scan_width,  # which of them are not zero
            }
        )


class Share(data.StructLayout):
    """A block as it is dealt out to a scan.

    Parameters
    ----------
    scan_width, activation_width : :class:`int`
        As of :class:`Block`.
    """

    def __init__(self, scan_width, activation_width):
        super().__init__(
            {
                "block": Block(scan_width, activation_width),
                "few": 1,  # whether no more than one of its activations is not zero
                "final": 1,  # whether it is the last one of the run for this scan
            }
        )


class Step(data.StructLayout):
    """What the elements are told in a cycle.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a block.
    activation_width : :class:`int`
        Bits in an activation.
    depth : :class:`int`
        Blocks whose counts an element holds.
    """

    def __init__(self, scan_width, activation_width, depth):
        super().__init__(
            {
                "activation": signed(activation_width),  # of the step before, which takes long
                "lane": range(scan_width),  # which column of the block it belongs to
                "nonzero": 1,  # otherwise there is no activation, only the end of a block
                "done": 1,  # last step of a block
                "final": 1,  # last step of a run
                "bank": 1,  # of the accumulators that the run adds up in
                "block": range(depth),  # where its counts are
            }
        )


class Scan(wiring.Component):
    """Takes blocks of activations and tells their non-zeros, lowest lane first, one a cycle.

    A block with n non-zeros costs max(n, 1) cycles: its end must be told even if it is all zero,
    for the elements count columns. A step is told one cycle after its block is seen, and its
    activation in the cycle behind that. There is no backpressure on steps, but none is begun in a
    cycle with ``hold``.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a block.
    activation_width : :class:`int`
        Bits in an activation, two's complement.
    depth : :class:`int`
        Blocks whose counts an element holds.
    stages : :class:`bool`
        Whether programs have several; see :class:`~hdl.sparse.run.Origin`.

    Members
    -------
    start : ``In(1)``
        Begins a run. Only while not ``busy``.
    origin : ``In(Origin)``
        Where the counts of the run are. With ``start``.
    bank : ``In(1)``
        To stand still while ``busy``.
    i : ``In(stream.Signature(Share(scan_width, activation_width)))``
    hold : ``In(1)``
    step : ``Out(Step(scan_width, activation_width, depth))``
    valid : ``Out(1)``
        Whether there is a step in this cycle.
    busy : ``Out(1)``
        Whether steps of the run are yet to begin.
    """

    LATENCY = 1

    def __init__(self, *, scan_width, activation_width, depth, stages):
        self.scan_width = scan_width
        self.stages = stages
        super().__init__(
            {
                "start": In(1),
                "origin": In(Origin),
                "bank": In(1),
                "i": In(stream.Signature(Share(scan_width, activation_width))),
                "hold": In(1),
                "step": Out(Step(scan_width, activation_width, depth)),
                "valid": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Non-zeros of the block that are yet to be told: all of them when it is first seen. Whether
        # the next step is the block's last one is then known before.
        share = self.i.payload
        within = Signal()
        remaining = Signal(self.scan_width)
        ends = Signal()
        left = Signal(self.scan_width)
        m.d.comb += left.eq(Mux(within, remaining, share.block.nonzero))
        lane = Signal.like(self.step.lane)
        for n in reversed(range(self.scan_width)):
            with m.If(left[n]):
                m.d.comb += lane.eq(n)
        rest = Signal(self.scan_width)
        m.d.comb += rest.eq(_behind_first(left))
        done = Mux(within, ends, share.few)

        # To find the activation takes longer than to find its lane.
        activations = Signal.like(share.block.activations)
        m.d.sync += self.step.activation.eq(activations[self.step.lane])

        go = Signal()
        m.d.comb += go.eq(self.i.valid & self.busy & ~self.hold)
        m.d.comb += self.i.ready.eq(go & done)
        m.d.sync += self.valid.eq(go)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.If(go):
            m.d.sync += [
                within.eq(~done),
                remaining.eq(rest),
                ends.eq(few(rest)),
                activations.eq(share.block.activations),
                self.step.lane.eq(lane),
                self.step.nonzero.eq(left.any()),
                self.step.done.eq(done),
                self.step.final.eq(done & share.final),
                self.step.bank.eq(self.bank),
            ]
            with m.If(done & share.final):
                m.d.sync += self.busy.eq(0)

        # Counts of all layers lie one after another, in the order in which the layers run.
        origin = Signal(Origin)
        first_block = Signal.like(self.step.block)
        stage_block = Signal.like(self.step.block) if self.stages else Const(0)
        block = Signal.like(self.step.block)
        m.d.comb += block.eq(self.step.block + self.step.done)
        with m.If(origin == Origin.FIRST):
            m.d.comb += block.eq(stage_block)
        with m.If(origin == Origin.SAME):
            m.d.comb += block.eq(first_block)
        with m.If(origin == Origin.RESTART):
            m.d.comb += block.eq(0)
        with m.If(self.start):
            m.d.sync += origin.eq(self.origin)
        with m.If(go):
            m.d.sync += [self.step.block.eq(block), origin.eq(Origin.NONE)]
            with m.If(origin != Origin.NONE):
                m.d.sync += first_block.eq(block)
            if self.stages:
                with m.If((origin == Origin.ENTER) | (origin == Origin.RESTART)):
                    m.d.sync += stage_block.eq(block)

        return m


def few(bits):
    """Whether no more than one of ``bits`` is set."""
    return ~_behind_first(bits).any()


def _behind_first(bits):
    """``bits`` without the lowest one that is set."""
    return Cat(bit & bits[:n].any() for n, bit in enumerate(bits))
