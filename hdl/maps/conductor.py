"""Goes through the stages of a network, from the input to the result."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.maps.convolve import Task
from hdl.maps.fold import Folding
from hdl.maps.walk import Route
from hdl.multiplier import Multiplier

__all__ = ["STAGE_ITEM", "Conductor", "Stage", "Work", "stage_items"]

STAGE_ITEM = 32
"""Bits of a stage's description that are loaded at a time."""


class Work(enum.Enum, shape=2):
    """What makes the words of a stage's result from those that it takes."""

    COPY = 0
    SPARSE = 1
    FOLD = 2
    WINOGRAD = 3


class Stage(data.StructLayout):
    """What is done in a stage.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    # Of routes: loops, and bits of rows and columns.
    LEVELS = 5
    COORDINATE_WIDTH = 12
    # Windows that are folded have up to 2**10 words.
    WINDOW_BITS = 10

    def __init__(self, configuration):
        c = configuration
        route = Route(self.LEVELS, self.address_width(c), self.COORDINATE_WIDTH)
        folding = Folding(
            c.activation_width, c.activation_width + self.WINDOW_BITS, Multiplier.WIDEST
        )
        super().__init__(
            {
                "work": Work,
                "from_map": 1,  # whether it takes words of a map, or the input of the network
                "to_map": 1,  # whether its result becomes a map, or leaves the device
                "endless": 1,  # whether it is the only one, and lets every word pass
                "last": 1,
                "read": route,
                "write": route,
                "folding": folding,
                **({"winograd": Task(c)} if c.winograd else {}),
            }
        )

    @staticmethod
    def address_width(configuration):
        """Bits of the address of a word of a map."""
        return ceil_log2(configuration.map_depth)


def stage_items(configuration):
    """Items of :data:`STAGE_ITEM` bits that a stage is loaded as."""
    return -(-Stage(configuration).size // STAGE_ITEM)


class Conductor(wiring.Component):
    """Begins one stage after another, and the first one after the last.

    What a stage is to do is read from a memory, ``items + 2`` cycles long; then ``stage`` stands
    still until all of it is ``done``. Only then is the next one read, so that its words are in the
    memory of maps.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    enabled : ``In(1)``
        Whether to run. Falls only while the first stage has taken nothing yet.
    stage : ``Out(Stage(configuration))``
    running : ``Out(1)``
        Whether it is under way, and nobody wants a report.
    first : ``Out(1)``
        Whether it is the first one.
    enter, restart : ``Out(1)``
        To the sequencer; see :class:`~hdl.sequencer.Sequencer`.
    read, write : ``Out(stream.Signature(Route))``
        The ways of a stage, to go once.
    done : ``In(1)``
        Whether the stage under way is done.
    waiting : ``In(1)``
        Whether nothing of it has begun yet. Such cycles are not counted.
    idle : ``Out(1)``
        Whether it is stopped, or the first stage is under way, and nobody wants a report.
    report : ``In(1)``
        Begins a report: the cycles that each stage has taken since the one before. Only in the
        first stage, before that takes anything.
    counters : ``Out(stream.Signature(counter_width))``
        The report, ``stage_depth`` numbers.
    reported : ``Out(1)``
        Whether the last of them is taken in this cycle.
    reporting : ``Out(1)``
        Whether any are to come.
    load : ``Out``
        Write port of the stages, an item at a time.
    """

    def __init__(self, configuration):
        self.configuration = c = configuration
        self.items = stage_items(c)
        route = Stage(c)["read"].shape
        super().__init__(
            {
                "enabled": In(1),
                "stage": Out(Stage(c)),
                "running": Out(1),
                "first": Out(1),
                "enter": Out(1),
                "restart": Out(1),
                "read": Out(stream.Signature(route)),
                "write": Out(stream.Signature(route)),
                "done": In(1),
                "waiting": In(1),
                "idle": Out(1),
                "report": In(1),
                "counters": Out(stream.Signature(c.counter_width)),
                "reported": Out(1),
                "reporting": Out(1),
                "load": Out(
                    WritePort.Signature(
                        addr_width=ceil_log2(c.stage_depth * self.items), shape=STAGE_ITEM
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration
        m.submodules.stages = stages = Memory(
            shape=STAGE_ITEM, depth=c.stage_depth * self.items, init=[]
        )
        load, item = stages.write_port(), stages.read_port()
        m.d.comb += [load.addr.eq(self.load.addr), load.data.eq(self.load.data)]
        m.d.comb += load.en.eq(self.load.en)

        # The description passes through a chain of items, the first of which ends up lowest.
        chain = Signal(data.ArrayLayout(STAGE_ITEM, self.items))
        m.d.comb += self.stage.eq(chain.as_value()[: Stage(c).size])
        m.d.comb += [self.read.payload.eq(self.stage.read), self.write.payload.eq(self.stage.write)]
        left = Signal(range(self.items + 1))
        number = Signal(range(c.stage_depth))
        following = Signal()  # whether the next stage is not the first one
        elapsed = Signal(c.counter_width)
        ends = Signal()
        clearing = Signal(init=1)  # the cycles of the stages
        m.d.comb += self.first.eq(number == 0)
        with m.FSM():
            with m.State("STOPPED"):
                m.d.comb += self.idle.eq(~self.enabled & ~self.reporting & ~clearing)
                m.d.sync += following.eq(0)
                with m.If(self.enabled):
                    m.next = "SEEK"
            with m.State("SEEK"):
                m.d.comb += self.restart.eq(~following)
                m.d.sync += [left.eq(self.items), number.eq(Mux(following, number + 1, 0))]
                with m.If(~following):
                    m.d.sync += item.addr.eq(0)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += left.eq(left - 1)
                with m.If(left != 0):
                    m.d.sync += item.addr.eq(item.addr + 1)
                with m.If(left != self.items):
                    m.d.sync += chain.eq(Cat(chain.as_value()[STAGE_ITEM:], item.data))
                with m.If(left == 0):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [
                    self.read.valid.eq(self.stage.from_map),
                    self.write.valid.eq(~self.stage.endless),
                    self.enter.eq(self.stage.work == Work.SPARSE),
                ]
                m.d.sync += elapsed.eq(0)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.running.eq(~self.reporting)
                m.d.comb += self.idle.eq(self.first & ~self.reporting)
                m.d.sync += elapsed.eq(elapsed + ~self.waiting)
                with m.If(~self.enabled):
                    m.next = "STOPPED"
                with m.Elif(self.done):
                    m.d.comb += ends.eq(1)
                    m.d.sync += following.eq(~self.stage.last)
                    m.next = "SEEK"

        self._count(m, ends, number, elapsed, clearing)
        return m

    def _count(self, m, ends, number, elapsed, clearing):
        """Add up the cycles of each stage, and report them."""
        c = self.configuration
        m.submodules.cycles = cycles = Memory(shape=c.counter_width, depth=c.stage_depth, init=[])
        so_far, sums = cycles.read_port(domain="comb"), cycles.write_port()
        place = Signal.like(number)
        last = place == c.stage_depth - 1
        moves = self.counters.valid & self.counters.ready
        m.d.comb += [
            so_far.addr.eq(Mux(ends, number, place)),
            sums.addr.eq(so_far.addr),
            sums.data.eq(Mux(ends, so_far.data + elapsed, 0)),
            sums.en.eq(ends | moves | clearing),
            self.counters.payload.eq(so_far.data),
            self.counters.valid.eq(self.reporting & ~clearing),
            self.reported.eq(moves & last),
        ]
        with m.If(self.report):
            m.d.sync += self.reporting.eq(1)
        with m.If(moves | clearing):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
            with m.If(last):
                m.d.sync += [clearing.eq(0), self.reporting.eq(0)]
