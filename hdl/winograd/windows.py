"""Keeps blocks of the input, and puts out the windows of tiles."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.ram import Ram
from hdl.streams import delayed
from hdl.winograd.parameters import Block

__all__ = ["Place", "Source", "Windows"]


class Source(data.StructLayout):
    """How many blocks a layer's input has.

    Parameters
    ----------
    blocks : shape-castable
    """

    def __init__(self, blocks):
        super().__init__({"blocks": blocks, "pads": 1})


class Place(data.StructLayout):
    """A window.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "address": ceil_log2(p.window_depth),  # of the block that a tile's results are in
                "rows": p.size,  # which rows are in the image; the others are zeros
                "columns": p.size,
            }
        )


class Lane(wiring.Component):
    """Memory of one of a window's inputs.

    Lanes are far from each other, so that each has registers of its own. With two ways, there is a
    memory for even addresses and one for odd ones, and both are read at a time.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    writes : ``In(1)``
    place, number : ``In``
        What to write, and where to.
    address : ``In``
        What to read.
    outside : ``In(1)``
        Whether that is not in the image, ``Ram.LATENCY`` cycles later.
    o : ``Out``
        It, for each way, a cycle later; zero outside.
    """

    def __init__(self, parameters):
        self.parameters = p = parameters
        address = ceil_log2(p.window_depth)
        number = signed(p.activation_width)
        super().__init__(
            {
                "writes": In(1),
                "place": In(address),
                "number": In(number),
                "address": In(address),
                "outside": In(1),
                "o": Out(data.ArrayLayout(number, p.ways)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ways = self.parameters.ways
        which = ways - 1  # bits of an address that say which memory it is in
        writes = Signal()
        place = Signal.like(self.place, reset_less=True)
        number = Signal.like(self.number, reset_less=True)
        m.d.sync += [writes.eq(self.writes), place.eq(self.place), number.eq(self.number)]

        for n in range(ways):
            memory = Ram(number.shape(), depth=self.parameters.window_depth // ways)
            m.submodules[f"memory_{n}"] = memory
            m.d.comb += [
                memory.load.en.eq(writes & (place[0] == n) if which else writes),
                memory.load.addr.eq(place[which:]),
                memory.load.data.eq(number),
                memory.address.eq(self.address[which:]),
            ]
            # A register with a reset of its own takes no logic.
            value = Signal.like(number, name=f"value_{n}", reset_less=True)
            m.d.sync += value.eq(memory.o)
            with m.If(self.outside):
                m.d.sync += value.eq(0)
            m.d.comb += self.o[n].eq(value)
        return m


class Windows(wiring.Component):
    """A window of ``size`` rows and columns of a channel in each cycle.

    Blocks come channel after channel of the leftmost one of a row, then of the one to its right,
    and row after row; each takes the next address. Addresses go on from layer to layer, modulo
    ``window_depth``. A window takes up parts of four blocks, or nine if the layer is padded; so
    each of its inputs has a memory of its own, with one of the inputs of a block, and those that
    are in other blocks than the first are read from other addresses. The window appears
    :attr:`LATENCY` cycles after its place.

    With two ways, it is the windows of two channels, of which the first has an even address. Each
    layer has an even number of channels.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    layer : ``In(stream.Signature(Source(...)))``
        The layer whose blocks come next. Taken three cycles before the first of them.
    i : ``In(stream.Signature(Block(parameters)))``
    oldest : ``In``
        Address of a block that is still needed; those before it are not. Modulo twice the depth.
    written : ``Out``
        Address of the block that comes next. Modulo twice the depth.
    arrived : ``Out(1)``
        Set for a cycle when the last block of a layer is there.
    pads : ``In(1)``
        Whether the layer of the windows is padded.
    pitch, channels : ``In``
        Its blocks in a row, and in a place.
    place : ``In(Place(parameters))``
    o : ``Out(ArrayLayout(ArrayLayout(ArrayLayout(signed(activation_width), size), size), ways))``
    """

    # Addresses, memory, zeros.
    LATENCY = 1 + Ram.LATENCY + 1
    # Blocks that may still be accepted when there is no room any more.
    MARGIN = 4
    _FEW = 6

    def __init__(self, parameters, *, blocks, channels):
        self.parameters = p = parameters
        window = ceil_log2(p.window_depth)
        row = data.ArrayLayout(signed(p.activation_width), p.size)
        super().__init__(
            {
                "layer": In(stream.Signature(Source(blocks))),
                "i": In(stream.Signature(Block(p))),
                "oldest": In(window + 1),
                "written": Out(window + 1),
                "arrived": Out(1),
                "pads": In(1),
                "pitch": In(window),
                "channels": In(channels),
                "place": In(Place(p)),
                "o": Out(data.ArrayLayout(data.ArrayLayout(row, p.size), p.ways)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        pads = Signal()
        takes = self._accept(m, pads)

        # Where in its block an input is, and in which one: at the same place, before or after it.
        # The first lines of a window are so in one way, the last two in others, and the rest alike.
        kinds = [0] + [1] * (p.tile - 1) + [2, 3]
        addresses = self._addresses(m)
        inside = {
            name: delayed(m, self.place[name], cycles=self.LATENCY - 2, name=name)
            for name in ("rows", "columns")
        }
        for i in range(p.size):
            for j in range(p.size):
                m.submodules[f"lane_{i}_{j}"] = lane = Lane(p)
                padded = self.i.p[(i - 1) % p.tile][(j - 1) % p.tile]
                plain = self.i.p[i % p.tile][j % p.tile]
                outside = Signal(name=f"outside_{i}_{j}")
                m.d.sync += outside.eq(~(inside["rows"][i] & inside["columns"][j]))
                m.d.comb += [
                    lane.writes.eq(takes),
                    lane.place.eq(self.written),
                    lane.number.eq(Mux(pads, padded, plain)),
                    lane.address.eq(addresses[kinds[i]][kinds[j]]),
                    lane.outside.eq(outside),
                    *(self.o[n][i][j].eq(lane.o[n]) for n in range(p.ways)),
                ]

        return m

    def _accept(self, m, pads):
        """Takes blocks. Returns whether one is taken."""
        p = self.parameters
        left = Signal.like(self.layer.p.blocks)
        settles, begins, active, last = Signal(), Signal(), Signal(), Signal()
        room = Signal()
        # Room is told late; what is accepted until then is the margin.
        used = Signal.like(self.written)
        m.d.sync += used.eq(self.written - self.oldest)
        m.d.sync += room.eq(used < p.window_depth - self.MARGIN)
        # The upper bits of what is left change long before it comes to an end.
        few = Signal()
        m.d.sync += few.eq(left[self._FEW :] == 0)
        takes = self.i.valid & self.i.ready
        m.d.comb += [
            self.layer.ready.eq(~active & ~settles & ~begins),
            self.i.ready.eq(active & room),
        ]
        m.d.sync += [settles.eq(self.layer.valid & self.layer.ready), begins.eq(settles)]
        with m.If(self.layer.ready):
            m.d.sync += [left.eq(self.layer.p.blocks), pads.eq(self.layer.p.pads)]
        with m.If(begins):
            m.d.sync += [active.eq(1), last.eq(few & (left[: self._FEW] == 1))]
        with m.If(takes):
            m.d.sync += [self.written.eq(self.written + 1), left.eq(left - 1)]
            m.d.sync += [last.eq(few & (left[: self._FEW] == 2)), active.eq(~last)]
        m.d.sync += self.arrived.eq(takes & last)

        return takes

    def _addresses(self, m):
        """Addresses of the four kinds of rows, for each of them those of the kinds of columns."""
        rows = self._offsets(m, self.pitch, "row_offset")
        columns = self._offsets(m, self.channels, "column_offset")
        addresses = []
        for n, row in enumerate(rows):
            addresses.append([])
            for k, column in enumerate(columns):
                # Both together stand still for a layer, so that one addition is left for a step.
                offset = Signal.like(row, name=f"offset_{n}_{k}")
                address = Signal.like(row, name=f"address_{n}_{k}")
                m.d.sync += [offset.eq(row + column), address.eq(self.place.address + offset)]
                addresses[-1].append(address)
        return addresses

    def _offsets(self, m, step, name):
        """By how much the four kinds of lines are away, for blocks that are ``step`` apart."""
        size = len(self.place.address)
        before, after, last = (Signal(size, name=f"{name}_{n}") for n in (0, 2, 3))
        m.d.sync += [
            before.eq(Mux(self.pads, -step, 0)),
            after.eq(Mux(self.pads, 0, step)),
            last.eq(step),
        ]
        return before, Const(0, size), after, last
