"""Goes through the tiles of a layer, and through the channels of each."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.winograd.parameters import Descriptor
from hdl.winograd.windows import Place

__all__ = ["Band", "Result", "Steps", "Tile", "Walk", "Weight"]


class Weight(data.StructLayout):
    """Where a kernel's weights are in its memory.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        super().__init__({"channel": range(parameters.channel_depth), "half": 1})


class Result(data.StructLayout):
    """Where the results of a tile go, and what they end.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "place": range(p.output_depth // 2),  # in the memory of a drain
                "first": range(p.groups * p.per_drain),  # of its kernels
                "bank": 1,
                "ends_band": 1,
                "ends_layer": 1,
            }
        )


class Band(data.StructLayout):
    """Which results are those of a band.

    Parameters
    ----------
    descriptor : Descriptor
    """

    def __init__(self, descriptor):
        names = ("band", "kernels", "stride")
        super().__init__({name: descriptor[name].shape for name in names})


class Tile(data.StructLayout):
    """A tile, for a group of kernels.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        super().__init__(
            {
                "place": Place(parameters),
                "half": 1,  # of the kernels' memories
                "ends_group": 1,
                "result": Result(parameters),
            }
        )


class Walk(wiring.Component):
    """Tells the tiles of a layer, for each group of kernels, band after band.

    Tiles go from left to right and from the top to the bottom. A band is so many of them that
    follow each other, wherever rows begin; the last one can be shorter. All tiles of a band are
    told for the first group of kernels, then for the next one, and so on, so that weights are read
    once a band.

    A band waits for the blocks of its windows and for room for its results, and a group of kernels
    for its weights. The next tile is told at most :attr:`CYCLES` cycles after one is taken, if it
    has not to wait. A layer begins when the results of the one before are there.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    layer : ``In(stream.Signature(Descriptor(parameters)))``
        Taken when the last result of the one before is there.
    current : ``Out(Descriptor(parameters))``
        The layer that was taken last.
    o : ``Out(stream.Signature(Tile(parameters)))``
    written, arrived : ``In``
        As of :class:`~hdl.winograd.windows.Windows`.
    oldest : ``Out``
        Likewise.
    band : ``Out(stream.Signature(Band(...), always_ready=True))``
        Put out two cycles after the last tile of a band is taken.
    loaded : ``In(1)``
        Whether the weights of one more group are there.
    freed : ``In(1)``
        Whether there is room for the results of one more band. There is for two, after a reset.
    finished : ``In(1)``
        Whether the last result of the layer is there.
    clear : ``In(1)``
        Keeps the walk from starting a layer.
    busy : ``Out(1)``
        From the cycle in which the first tile of a layer is told until its last result is there.
    """

    CYCLES = 6

    def __init__(self, parameters):
        self.parameters = p = parameters
        address = ceil_log2(p.window_depth) + 1
        super().__init__(
            {
                "layer": In(stream.Signature(Descriptor(p))),
                "current": Out(Descriptor(p)),
                "o": Out(stream.Signature(Tile(p))),
                "written": In(address),
                "arrived": In(1),
                "oldest": Out(address),
                "band": Out(stream.Signature(Band(Descriptor(p)), always_ready=True)),
                "loaded": In(1),
                "freed": In(1),
                "finished": In(1),
                "clear": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        layer = self.current
        tile = self.o.payload

        # Where the walk is, and where the band began.
        position = data.StructLayout(
            {
                "address": len(self.written),
                "column": len(layer.columns),
                "row": len(layer.rows),
                "right": len(layer.width) + 1,  # columns of the image from the window's first one
                "below": len(layer.height) + 1,
            }
        )
        here, begin, after = (Signal(position, name=n) for n in ("here", "begin", "after"))
        number = Signal(range(p.band_depth))
        group = Signal.like(layer.groups)
        origin = Signal(len(self.written))
        begins_group, begins_band = Signal(), Signal()
        last_column, last_row = Signal(), Signal()
        ends_band, last_group = Signal(), Signal()

        # What depends on where it is is there a cycle later, and what depends on that two.
        greatest = {}
        for name in "columns", "rows", "groups", "band":
            greatest[name] = Signal.like(layer[name], name=f"greatest_of_{name}")
            m.d.sync += greatest[name].eq(layer[name] - 1)
        m.d.sync += [
            last_column.eq(here.column == greatest["columns"]),
            last_row.eq(here.row == greatest["rows"]),
            last_group.eq(group == greatest["groups"]),
            ends_band.eq(number == greatest["band"]),
        ]
        ends, ends_layer, again = Signal(), Signal(), Signal()
        m.d.sync += [
            ends.eq(ends_band | (last_column & last_row)),
            again.eq((ends_band | (last_column & last_row)) & ~last_group),
            ends_layer.eq(last_column & last_row & last_group),
        ]
        self._advance(m, here, after, last_column)
        self._tell(m, here)

        # Weights and rooms at hand, layers all of whose input is there, and whether a band's is.
        stock, rooms, complete = Signal(2), Signal(2, init=2), Signal(3)
        there, reached = Signal(), Signal.like(here.address)
        takes_group, takes_band = Signal(), Signal()
        m.d.sync += [
            stock.eq(stock + self.loaded - takes_group),
            rooms.eq(rooms + self.freed - takes_band),
            complete.eq(complete + self.arrived - self.finished),
            reached.eq(self.written - begin.address),
            there.eq((reached >= layer.ahead) | (complete != 0)),
        ]
        ready = Signal()
        weights_there = stock != 0
        band_there = ~begins_band | (there & (rooms != 0))

        # Windows reach a row and a place back. The last tile of the band before is on its way by
        # now, which is up to two places before the band.
        back = Signal.like(self.oldest)
        m.d.sync += back.eq(layer.pitch + layer.channels + (layer.channels << 1))

        # Whatever is on offer is taken over, so that no logic decides about so many registers.
        with m.If(self.layer.ready):
            m.d.sync += layer.eq(self.layer.payload)
        with m.If(self.finished):
            m.d.sync += [origin.eq(origin + layer.blocks), self.busy.eq(0)]
        # One of these is set, or a tile is told, or all are and the layer is not finished.
        idle, begins, settles, settled = Signal(init=1), Signal(), Signal(), Signal()
        waits = Signal()
        taken, told, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(self.layer.valid & self.layer.ready),
            told.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += self.layer.ready.eq(idle & ~self.clear & ~taken)
        m.d.sync += [begins.eq(taken), settles.eq(begins | (moves & ~ends_layer))]
        m.d.sync += [settled.eq(settles), ready.eq(waits & ~ready & weights_there & band_there)]
        with m.If(self.finished):
            m.d.sync += idle.eq(1)
        with m.If(taken):
            m.d.sync += idle.eq(0)
        with m.If(idle):
            m.d.sync += self.oldest.eq(origin)
        with m.If(begins):
            first = Signal(position)
            m.d.comb += [
                first.address.eq(origin),
                first.right.eq(layer.width + layer.pads),
                first.below.eq(layer.height + layer.pads),
            ]
            m.d.sync += [here.eq(first), begin.eq(first)]
            m.d.sync += [number.eq(0), group.eq(0), begins_group.eq(1), begins_band.eq(1)]
            m.d.sync += [tile.result.place.eq(0), tile.result.first.eq(0)]
        with m.If(settled):
            m.d.sync += [waits.eq(begins_group), self.o.valid.eq(~begins_group)]
            with m.If(begins_band):
                m.d.sync += self.oldest.eq(begin.address - back)
        with m.If(ready):
            m.d.comb += [takes_group.eq(1), takes_band.eq(begins_band)]
            m.d.sync += [waits.eq(0), self.o.valid.eq(1), self.busy.eq(1)]
        m.d.sync += moves.eq(told)
        with m.If(told):
            m.d.sync += self.o.valid.eq(0)
        with m.If(moves):
            m.d.sync += [begins_group.eq(ends), begins_band.eq(0)]
            m.d.sync += [number.eq(Mux(ends, 0, number + 1)), here.eq(Mux(again, begin, after))]
            m.d.sync += tile.result.place.eq(tile.result.place + layer.stride)
        with m.If(moves & ends):
            first_kernel = Mux(last_group, 0, tile.result.first + p.per_drain)
            m.d.sync += [tile.half.eq(~tile.half), group.eq(Mux(last_group, 0, group + 1))]
            m.d.sync += tile.result.first.eq(first_kernel)
            m.d.sync += tile.result.place.eq(first_kernel)
            with m.If(last_group):
                m.d.sync += [begin.eq(after), begins_band.eq(1)]
                m.d.sync += tile.result.bank.eq(~tile.result.bank)

        m.d.sync += [
            self.band.valid.eq(moves & ends & last_group),
            self.band.p.band.eq(number + 1),
            self.band.p.kernels.eq(layer.kernels),
            self.band.p.stride.eq(layer.stride),
        ]
        m.d.comb += [
            tile.ends_group.eq(ends),
            tile.result.ends_band.eq(ends & last_group),
            tile.result.ends_layer.eq(ends_layer),
        ]
        return m

    def _advance(self, m, here, after, last_column):
        """The next tile, a cycle after ``last_column`` is known."""
        layer = self.current
        tile = self.parameters.tile
        step = Mux(last_column & layer.skips, layer.channels << 1, layer.channels)
        m.d.sync += [
            after.address.eq(here.address + step),
            after.column.eq(here.column + 1),
            after.row.eq(here.row),
            after.right.eq(here.right - tile),
            after.below.eq(here.below),
        ]
        with m.If(last_column):
            m.d.sync += [
                after.column.eq(0),
                after.row.eq(here.row + 1),
                after.right.eq(layer.width + layer.pads),
                after.below.eq(here.below - tile),
            ]

    def _tell(self, m, here):
        """Where the window is, and which of its lines are in the image."""
        layer = self.current
        place = self.o.p.place
        m.d.sync += place.address.eq(here.address)
        for name, left, first in (
            ("rows", here.below, here.row == 0),
            ("columns", here.right, here.column == 0),
        ):
            lines = [left > n for n in range(self.parameters.size)]
            lines[0] = ~(first & layer.pads)
            m.d.sync += place[name].eq(Cat(lines))


class Steps(wiring.Component):
    """Goes through the channels of tiles, one a cycle, or two, without a gap between tiles.

    A tile with fewer steps than ``least`` takes so many cycles all the same. Its first step is told
    :attr:`LATENCY` cycles after it was taken. What is told goes into registers wherever it goes.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    i : ``In(stream.Signature(Tile(parameters)))``
    channels : ``In(range(channel_depth + 1))``
        Of the layer of the tiles.
    paired : ``In(1)``
        Whether a step is two channels. Only if layers can be paired.
    place : ``Out(Place(parameters))``
        The window; without any rows in the image if there is no step.
    weight : ``Out(Weight(parameters))``
        The weights to multiply it with.
    ends : ``Out(1)``
        Whether this is the last step of its tile.
    frees : ``Out(1)``
        Whether this is the first step of the last tile for a group of kernels: from now on, its
        weights are read for the last time, one channel a cycle.
    result : ``Out(Result(parameters))``
        With ``ends``.
    """

    LATENCY = 1

    def __init__(self, parameters):
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(Tile(p))),
                "channels": In(range(p.channel_depth + 1)),
                "place": Out(Place(p)),
                "weight": Out(Weight(p)),
                "ends": Out(1),
                "frees": Out(1),
                "result": Out(Result(p)),
            }
            | ({"paired": In(1)} if p.pairs else {})
        )

    def elaborate(self, platform):
        m = Module()
        least = self.parameters.least
        pairs = self.parameters.pairs
        tile = Signal.like(self.i.payload)
        channel = Signal.like(self.weight.channel)

        # Whether there is a tile, and this is its last cycle; a channel, and this is the last one.
        # Each is found in the cycle before, from how many come after the next one.
        busy, last = Signal(), Signal()
        live, first_live, last_live = Signal(), Signal(), Signal()
        cycles = Signal(range(max(self.parameters.channel_depth, least)))
        channels = Signal(range(self.parameters.channel_depth))
        moves = ~busy | last
        m.d.comb += self.i.ready.eq(moves)
        m.d.sync += [cycles.eq(cycles - 1), channels.eq(channels - 1)]
        m.d.sync += [last.eq(busy & (cycles == 0)), live.eq(live & ~last_live)]
        m.d.sync += [first_live.eq(moves & self.i.valid), last_live.eq(channels == 0)]
        m.d.sync += channel.eq(channel + 1)
        step = Mux(self.paired, 2, 1) if pairs else 1
        m.d.sync += tile.place.address.eq(tile.place.address + step)

        # Of the layer.
        more, only = Signal(), Signal()
        first_cycles, first_channels = Signal.like(cycles), Signal.like(channels)
        steps = self.channels >> self.paired if pairs else self.channels
        m.d.sync += [
            more.eq(steps > least),
            only.eq(steps == 1),
            first_channels.eq(steps - 2),
            first_cycles.eq(Mux(more, steps, least) - 2),
        ]
        with m.If(moves):
            m.d.sync += [tile.eq(self.i.payload), channel.eq(0), busy.eq(self.i.valid)]
            m.d.sync += [live.eq(self.i.valid), last_live.eq(only), channels.eq(first_channels)]
            m.d.sync += [last.eq(0), cycles.eq(first_cycles)]

        m.d.comb += [
            self.place.address.eq(tile.place.address),
            self.place.rows.eq(Mux(live, tile.place.rows, 0)),
            self.place.columns.eq(Mux(live, tile.place.columns, 0)),
            self.weight.channel.eq(channel),
            self.weight.half.eq(tile.half),
            self.ends.eq(live & last_live),
            self.frees.eq(first_live & tile.ends_group),
            self.result.eq(tile.result),
        ]

        return m
