"""Fills the memories of an accelerator from one stream."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.maps.conductor import STAGE_ITEM, stage_items
from hdl.maps.feed import Feed
from hdl.sparse.drain import BIAS_WIDTH
from hdl.sparse.engine import Layer

__all__ = ["BEAT_WIDTH", "Header", "Loader", "Space", "Write", "spaces"]

BEAT_WIDTH = 32


class Space(enum.Enum, shape=4):
    """What a packet is about. The first three are memories of an element."""

    WEIGHTS = 1
    COUNTS = 2
    CODEBOOK = 3
    BIASES = 4
    LAYERS = 5
    RUN = 6
    REPORT = 7
    STAGES = 8
    WINOGRAD = 9


class Header(data.Struct):
    """First beat of a packet. ``count`` items follow, for the memory's address 0 onwards."""

    count: 20
    element: 8
    space: Space


def spaces(configuration):
    """Width in bits and number of the items of each memory: ``{space: (width, depth)}``."""
    c = configuration
    stages = {Space.STAGES: (STAGE_ITEM, c.stage_depth * stage_items(c))} if c.stages else {}
    if c.winograd:
        stages[Space.WINOGRAD] = (Feed.item_width(c.winograd), c.winograd_depth)
    return {
        Space.WEIGHTS: (2 * c.entry_width, c.weight_depth // 2),
        Space.COUNTS: (c.scan_width * c.count_width, c.column_depth // c.scan_width),
        Space.CODEBOOK: (c.weight_width, c.codebook_depth),
        Space.BIASES: (c.scan_width * BIAS_WIDTH, c.bias_depth // c.scan_width),
        Space.LAYERS: (Layer(c).size, c.layer_depth),
        **stages,
    }


class Write(data.StructLayout):
    """An item on its way to a memory.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        sizes = spaces(configuration).values()
        super().__init__(
            {
                "space": Space,
                "element": range(configuration.elements),
                "address": range(max(depth for _, depth in sizes)),
                "data": max(width for width, _ in sizes),
            }
        )


class Loader(wiring.Component):
    """Takes packets apart.

    An item is sent as one or more beats, the lowest bits first. From the first packet on the
    accelerator takes no input; the packet ``RUN`` lets it go on. ``REPORT`` asks for the counters.
    A packet begins only while the accelerator is ``idle``. Items beyond the end of a memory, and
    items for an unknown space or element, are taken and dropped.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    i : ``In(stream.Signature(32))``
    idle : ``In(1)``
    begins : ``Out(1)``
        Whether a packet begins in this cycle.
    write : ``Out(Write(configuration))``
    valid : ``Out(1)``
        Whether there is a write.
    enabled : ``Out(1)``
        Whether the accelerator may run.
    report : ``Out(1)``
        Asks for the counters, for one cycle.
    """

    def __init__(self, configuration):
        self.configuration = configuration
        super().__init__(
            {
                "i": In(stream.Signature(BEAT_WIDTH)),
                "idle": In(1),
                "begins": Out(1),
                "write": Out(Write(configuration)),
                "valid": Out(1),
                "enabled": Out(1),
                "report": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        header = Header(self.i.payload)
        packet = Signal(Header)
        inside = Signal()  # whether items are to come
        m.d.comb += self.begins.eq(self.i.valid & self.idle & ~inside)
        m.d.comb += self.i.ready.eq(inside | self.idle)
        with m.If(self.begins):
            with m.If(header.space == Space.RUN):
                m.d.sync += self.enabled.eq(1)
            with m.Elif(header.space == Space.REPORT):
                m.d.comb += self.report.eq(1)
            with m.Else():
                m.d.sync += [packet.eq(header), inside.eq(header.count != 0), self.enabled.eq(0)]

        # The beats of an item gather until its last one.
        parts = -(-len(self.write.data) // BEAT_WIDTH)
        gathered = Signal(data.ArrayLayout(BEAT_WIDTH, parts))
        part = Signal(range(parts))
        address = Signal.like(packet.count)
        last = Signal(init=1)
        fits = Signal()
        for space, (width, depth) in spaces(self.configuration).items():
            with m.If(packet.space == space):
                m.d.comb += last.eq(part == (width - 1) // BEAT_WIDTH)
                m.d.comb += fits.eq(address < depth)

        m.d.sync += self.valid.eq(0)
        with m.If(self.i.valid & inside):
            m.d.sync += [gathered[part].eq(self.i.payload), part.eq(part + 1)]
            with m.If(last):
                m.d.sync += [
                    part.eq(0),
                    packet.count.eq(packet.count - 1),
                    inside.eq(packet.count != 1),
                    address.eq(Mux(packet.count == 1, 0, address + 1)),
                    self.write.space.eq(packet.space),
                    self.write.element.eq(packet.element),
                    self.write.address.eq(address),
                    self.valid.eq(fits & (packet.element < self.configuration.elements)),
                ]
        m.d.comb += self.write.data.eq(gathered)

        return m
