"""A processing element: all that the rows of one slice of the matrix need."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hdl.sparse.accumulate import Accumulate
from hdl.sparse.counts import Counts
from hdl.sparse.decode import Decode
from hdl.sparse.fetch import Fetch
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.run import Origin
from hdl.sparse.scan import Step
from hdl.streams import delayed

__all__ = ["COUNTERS", "Control", "Element", "Load", "Store"]

COUNTERS = ("busy", "blocked", "padding")


class Store(enum.Flag, shape=3):
    """Memories of an element, each with a bit of its own."""

    NONE = 0
    WEIGHTS = 1
    COUNTS = 2
    CODEBOOK = 4


class Load(data.StructLayout):
    """A write to a memory of an element.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        c = configuration
        depth = max(c.weight_depth // 2, c.column_depth // c.scan_width, c.codebook_depth)
        width = max(2 * c.entry_width, c.scan_width * c.count_width, c.weight_width)
        super().__init__({"store": Store, "address": range(depth), "data": width})


class Control(data.StructLayout):
    """What the elements are told of the runs at hand.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        c = configuration
        super().__init__(
            {
                "origin": Origin,
                "running": 1,  # whether being blocked counts
                "delta_width": data.ArrayLayout(range(c.entry_width), 2),  # for each bank
                "codebook": data.ArrayLayout(range(c.codebook_depth), 2),  # address
                "drain": 1,
                "drain_row": range(c.row_depth),
                "drain_bank": 1,
            }
        )


class Element(wiring.Component):
    """Multiplies its rows of the matrix with the activations that it is told.

    One product a cycle as long as there are segments. In each cycle of a layer the element is
    busy (takes entries that give a product), at padding (takes escapes only) or starved (has
    nothing to take); it may besides have blocked the scan, its queue being full. All but the
    starved cycles, which are what remains, are counted; the counters saturate.

    Sums that are drained leave through a chain of elements, so that none has a long way to go.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    step : ``In(Step(...))``
    step_valid : ``In(1)``
    control : ``In(Control(configuration))``
    load : ``In(Load(configuration))``
    hold : ``Out(1)``
        Whether the scan is to begin no more steps.
    finished : ``Out(2)``
        For each bank, turns with the end of a run. All of its sums are written
        :attr:`FINISH_LATENCY` cycles later.
    drained_in : ``In(signed(accumulator_width))``
        Of the next element in the chain.
    drained : ``Out(signed(accumulator_width))``
        Sum of ``drain_row``, :attr:`DRAIN_LATENCY` cycles after ``drain``; in all other cycles,
        what ``drained_in`` was a cycle ago.
    shift : ``In(1)``
        Moves the counters on by one place: the first one leaves through ``counter``, and
        ``counter_in`` enters. Counters of all elements make one chain, cleared by being read.
    counter_in : ``In(counter_width)``
    counter : ``Out(counter_width)``
    """

    DRAIN_LATENCY = 1 + Accumulate.DRAIN_LATENCY + 1
    FINISH_LATENCY = Accumulate.LATENCY
    # From a step to its segment in front of the queue.
    STEP_LATENCY = Counts.LATENCY

    def __init__(self, configuration):
        self.configuration = c = configuration
        super().__init__(
            {
                "step": In(Step(c.scan_width, c.activation_width, c.column_depth // c.scan_width)),
                "step_valid": In(1),
                "control": In(Control(c)),
                "load": In(Load(c)),
                "hold": Out(1),
                "finished": Out(2),
                "drained_in": In(signed(c.accumulator_width)),
                "drained": Out(signed(c.accumulator_width)),
                "shift": In(1),
                "counter_in": In(c.counter_width),
                "counter": Out(c.counter_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration
        entry = {
            "row_depth": c.row_depth,
            "code_width": c.code_width,
            "activation_width": c.activation_width,
        }

        m.submodules.counts = counts = Counts(
            scan_width=c.scan_width,
            activation_width=c.activation_width,
            count_width=c.count_width,
            column_depth=c.column_depth,
            weight_depth=c.weight_depth,
            stages=c.stages,
        )
        m.submodules.queue = queue = SegmentQueue(counts.segment.shape(), depth=c.queue_depth)
        m.submodules.fetch = fetch = Fetch(
            weight_depth=c.weight_depth,
            entry_width=c.entry_width,
            count_width=c.count_width,
            **entry,
        )
        m.submodules.decode = decode = Decode(**entry)
        m.submodules.accumulate = accumulate = Accumulate(
            weight_width=c.weight_width,
            accumulator_width=c.accumulator_width,
            codebook_depth=c.codebook_depth,
            **entry,
        )

        # What comes from afar goes into a register first.
        control = delayed(m, self.control, cycles=1, name="control")
        m.d.comb += [
            counts.step.eq(self.step),
            counts.valid.eq(self.step_valid),
            counts.origin.eq(self.control.origin),
            queue.segment.eq(counts.segment),
            queue.segment_valid.eq(counts.segment_valid),
            self.hold.eq(queue.hold),
            fetch.delta_width.eq(control.delta_width),
            accumulate.term.eq(decode.term),
            accumulate.valid.eq(decode.valid),
            accumulate.base.eq(control.codebook),
            accumulate.drain.eq(control.drain),
            accumulate.drain_row.eq(control.drain_row),
            accumulate.drain_bank.eq(control.drain_bank),
            self.finished.eq(decode.finished),
        ]
        arrives = delayed(m, control.drain, cycles=Accumulate.DRAIN_LATENCY, name="arrives")
        m.d.sync += self.drained.eq(Mux(arrives, accumulate.drained, self.drained_in))
        wiring.connect(m, queue.o, fetch.i)
        wiring.connect(m, fetch.o, decode.i)

        # Elements are far from each other.
        load = delayed(m, self.load, cycles=1, name="load")
        for store, port in (
            (Store.WEIGHTS, fetch.load),
            (Store.COUNTS, counts.load),
            (Store.CODEBOOK, accumulate.load),
        ):
            m.d.comb += [
                port.addr.eq(load.address),
                port.data.eq(load.data),
                port.en.eq((load.store & store) != Store.NONE),
            ]

        # Events are counted a cycle late, and so from registers.
        events = {
            "busy": decode.gives,
            "blocked": self.control.running & queue.hold,
            "padding": decode.works & ~decode.gives,
        }
        counters = [Signal(c.counter_width, name=name) for name in COUNTERS]
        m.d.comb += self.counter.eq(counters[0])
        for name, counter, behind in zip(
            COUNTERS, counters, [*counters[1:], self.counter_in], strict=True
        ):
            event = delayed(m, events[name], cycles=1, name=f"{name}_event")
            more = Signal(c.counter_width + 1, name=f"{name}_more")
            m.d.comb += more.eq(counter + 1)
            with m.If(self.shift):
                m.d.sync += counter.eq(behind)
            with m.Elif(event & ~more[-1]):
                m.d.sync += counter.eq(more)

        return m
