"""The sparse matrix-vector engine: scan, elements, drain."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import WritePort
from amaranth.lib.wiring import In, Out

from hdl.sparse.drain import Drain, Scaling
from hdl.sparse.element import Control, Element, Load
from hdl.sparse.run import Origin
from hdl.sparse.scan import Block, Scan, Share, few
from hdl.streams import Queue, delayed
from hdl.verilog import shared

__all__ = ["COMPANIONS", "Engine", "Layer"]

COMPANIONS = 2
"""Vectors that can go through the program with another one. Three vectors take as long as it takes
to drain a small layer and to fill the pipeline again."""


class Layer(data.StructLayout):
    """What the hardware is told of a layer, or of a tile: some rows of a layer that has too many.

    The layers of a network are its program. The tiles of a layer follow each other in it, and all
    but the last one keep the vector that they scan.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        c = configuration
        super().__init__(
            {
                "blocks": range(c.vector_blocks + 1),  # of the input
                "delta_width": range(c.entry_width),
                "codebook": range(c.codebook_depth),
                "scaling": Scaling(c),
                "last": 1,  # whether the result is that of the network
                "keep": 1,  # whether the next line of the program scans the same vector
                # vectors that may go through the program with another one
                "companions": range(COMPANIONS + 1),
            }
        )


class Engine(wiring.Component):
    """Sparse matrix times sparse vector, run by run. A run is one layer of one vector.

    A run begins with ``start``. Its blocks are scanned as they come, non-zeros go to all elements,
    and each element adds up its rows at its own pace. In a layer that is split, each way scans
    blocks of its own for its own elements, so that thin columns do not leave them idle: block n
    goes to way ``n % ways``. Once all elements have ``done`` their part, ``finish`` drains the
    sums.

    There are two banks of accumulators, so that the next run can start as soon as the scan is
    through with the one before. An element goes on to it without waiting for the others.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    i : ``In(stream.Signature(Block(scan_width, activation_width)))``
    start : ``In(1)``
        Begins a run of ``layer``. Only while not ``scanning``. If the layer is split, it has at
        least as many blocks as there are ways.
    start_bank : ``In(1)``
        Where its sums are to be. A bank that is drained, or ``draining`` but not ``reading``.
    start_origin : ``In(Origin)``
    layer : ``In(Layer(configuration))``
    scanning : ``Out(1)``
        Whether steps of the run are yet to begin.
    done : ``Out(2)``
        For each bank, whether all that was started is added up.
    finish : ``In(1)``
        Drains a bank that is ``done``. Only while not ``draining``.
    finish_bank : ``In(1)``
    finish_origin : ``In(Origin)``
        Where its biases are.
    scaling : ``In(Scaling(configuration))``
        Of the layer to drain.
    reading : ``Out(1)``
        Whether rows of the bank are yet to be read, other than the one at hand.
    draining : ``Out(1)``
        Whether blocks are yet to be put out.
    o : ``Out(ArrayLayout(signed(activation_width), scan_width))``
    valid : ``Out(1)``
        Whether there is a block of output. There is no backpressure.
    ends : ``Out(1)``
        Whether it is the last one of the run.
    load_elements : ``In(ArrayLayout(Load(configuration), elements))``
    load_biases : ``Out``
        Write port of the biases.
    running : ``In(1)``
        Whether to count.
    shift : ``In(1)``
        Moves the chain of counters on; see :class:`~hdl.sparse.element.Element`.
    counter : ``Out(counter_width)``
        First counter of the chain.
    """

    # From the elements being finished to ``done``. By the time that a drain has got to them, their
    # last sums are written.
    DONE_LATENCY = 1
    # That a way can be ahead of the others.
    BLOCKS = 4
    # Elements whose wishes to hold are gathered first.
    NEIGHBOURS = 4

    def __init__(self, configuration):
        self.configuration = c = configuration
        block = data.ArrayLayout(signed(c.activation_width), c.scan_width)
        self.drain = Drain(c)
        super().__init__(
            {
                "i": In(stream.Signature(Block(c.scan_width, c.activation_width))),
                "start": In(1),
                "start_bank": In(1),
                "start_origin": In(Origin),
                "layer": In(Layer(c)),
                "scanning": Out(1),
                "done": Out(2),
                "finish": In(1),
                "finish_bank": In(1),
                "finish_origin": In(Origin),
                "scaling": In(Scaling(c)),
                "reading": Out(1),
                "draining": Out(1),
                "o": Out(block),
                "valid": Out(1),
                "ends": Out(1),
                "load_elements": In(data.ArrayLayout(Load(c), c.elements)),
                "load_biases": Out(
                    WritePort.Signature(
                        addr_width=len(self.drain.load.addr), shape=len(self.drain.load.data)
                    )
                ),
                "running": In(1),
                "shift": In(1),
                "counter": Out(c.counter_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration

        # What a run needs from its start to its end.
        bank = Signal()
        control = Signal(Control(c))
        phase = Signal(2)
        with m.If(self.start):
            m.d.sync += [
                bank.eq(self.start_bank),
                control.delta_width[self.start_bank].eq(self.layer.delta_width),
                control.codebook[self.start_bank].eq(self.layer.codebook),
                phase.eq(phase ^ (1 << self.start_bank)),
            ]

        scans = []
        for n in range(c.ways):
            m.submodules[f"scan_{n}"] = scan = Scan(
                scan_width=c.scan_width,
                activation_width=c.activation_width,
                depth=c.column_depth // c.scan_width,
                stages=c.stages,
            )
            scans.append(scan)
            m.d.comb += [scan.start.eq(self.start), scan.origin.eq(self.start_origin)]
            m.d.comb += scan.bank.eq(bank)
        m.submodules.drain = drain = self.drain
        wiring.connect(m, wiring.flipped(self.load_biases), drain.load)
        m.d.comb += [
            drain.start.eq(self.finish),
            drain.origin.eq(self.finish_origin),
            drain.scaling.eq(self.scaling),
            self.reading.eq(drain.reading),
            self.draining.eq(drain.busy),
            self.o.eq(drain.o),
            self.valid.eq(drain.valid),
            self.ends.eq(drain.ends),
        ]

        # Everything that goes to all elements comes from a register.
        m.d.sync += [
            control.origin.eq(Mux(self.start, self.start_origin, Origin.NONE)),
            control.running.eq(self.running),
            control.drain.eq(drain.read),
            control.drain_row.eq(drain.row),
        ]
        with m.If(self.finish):
            m.d.sync += control.drain_bank.eq(self.finish_bank)
        split = self._deal(m, scans)

        holds = [Signal(c.way_elements, name=f"holds_{n}") for n in range(c.ways)]
        unfinished, counter_in = [], Const(0, c.counter_width)
        chains = [Const(0)] * c.scan_width
        for n in reversed(range(c.elements)):
            element = shared(platform, lambda: Element(c), name="element")
            m.submodules[f"element_{n}"] = element
            way = n // c.way_elements
            m.d.comb += [
                element.step.eq(scans[way].step),
                element.step_valid.eq(scans[way].valid),
                element.control.eq(control),
                element.load.eq(self.load_elements[n]),
                element.drained_in.eq(chains[n % c.scan_width]),
                element.shift.eq(self.shift),
                element.counter_in.eq(counter_in),
            ]
            chains[n % c.scan_width] = element.drained
            if n % c.way_elements < c.scan_width:
                m.d.comb += drain.drained[way][n % c.scan_width].eq(element.drained)
            m.d.comb += holds[way][n % c.way_elements].eq(element.hold)
            unfinished.append(element.finished ^ phase)
            counter_in = element.counter
        m.d.comb += self.counter.eq(counter_in)

        m.d.comb += self.scanning.eq(Cat(scan.busy for scan in scans).any())
        # The way from all elements of a large device is long.
        near = [
            Cat(own[k : k + self.NEIGHBOURS].any() for k in range(0, len(own), self.NEIGHBOURS))
            for own in holds
        ]
        asked = [delayed(m, own, cycles=1, name=f"asked_{n}") for n, own in enumerate(near)]
        for scan, own in zip(scans, asked, strict=True):
            m.d.sync += scan.hold.eq(own.any() | (~split & Cat(asked).any()))

        # An end is known when the elements have told, a start at once.
        started = Signal(2)
        m.d.sync += started.eq(self.start << self.start_bank)
        all_finished = Cat(~Cat(bits[n] for bits in unfinished).any() for n in range(2))
        ended = delayed(m, all_finished, cycles=self.DONE_LATENCY, name="ended")
        m.d.comb += self.done.eq(ended & ~started)

        return m

    def _deal(self, m, scans):
        """Deal the blocks out to the scans: in turn if they are split, or else all to all, so that
        they go in step. Returns whether they are split."""
        c = self.configuration
        share = Share(c.scan_width, c.activation_width)
        split = Signal() if c.ways > 1 else Const(0)
        undealt = Signal.like(self.layer.blocks)
        dealing = Signal()
        final = Signal()  # from here on, blocks are the last ones of their ways
        deals = Signal()
        # Blocks beyond the layer's own are those of the next vector, and wait.
        with m.If(self.start):
            last = Mux(self.layer.scaling.split, c.ways, 1)
            m.d.sync += [undealt.eq(self.layer.blocks), dealing.eq(1)]
            m.d.sync += final.eq(self.layer.blocks == last)
        with m.Elif(deals):
            m.d.sync += [undealt.eq(undealt - 1), dealing.eq(undealt != 1)]
            m.d.sync += final.eq(final | (undealt == 1 + Mux(split, c.ways, 1)))
        m.d.comb += deals.eq(self.i.valid & self.i.ready)
        dealt = Signal(share)
        m.d.comb += [
            dealt.block.eq(self.i.payload),
            dealt.few.eq(few(self.i.p.nonzero)),
            dealt.final.eq(final),
        ]
        if c.ways == 1:
            m.d.comb += [
                scans[0].i.payload.eq(dealt),
                scans[0].i.valid.eq(self.i.valid),
                self.i.ready.eq(scans[0].i.ready),
            ]
            return split

        turn = Signal(range(c.ways))
        with m.If(self.start):
            m.d.sync += [split.eq(self.layer.scaling.split), turn.eq(0)]
        with m.Elif(deals):
            m.d.sync += turn.eq(turn + 1)
        queues = []
        for n, scan in enumerate(scans):
            m.submodules[f"blocks_{n}"] = queue = Queue(share, depth=self.BLOCKS)
            wiring.connect(m, queue.o, scan.i)
            queues.append(queue)
        ready = Cat(queue.i.ready for queue in queues)
        room = Mux(split, ready.bit_select(turn, 1), ready.all())
        m.d.comb += self.i.ready.eq(dealing & room)
        for n, queue in enumerate(queues):
            m.d.comb += queue.i.payload.eq(dealt)
            # A queue looks at its own room by itself.
            others = Cat(ready[k] for k in range(c.ways) if k != n).all()
            m.d.comb += queue.i.valid.eq(self.i.valid & dealing & Mux(split, turn == n, others))
        return split
