"""Puts results in the order of the input of a next layer."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.ram import Ram
from hdl.streams import Queue, delayed
from hdl.winograd.drain import Part
from hdl.winograd.parameters import Block, Descriptor
from hdl.winograd.walk import Band

__all__ = ["Collect"]


class Collect(wiring.Component):
    """Keeps the results of two bands, and puts out those of a complete one.

    Results come kernel after kernel and tile after tile of a group of kernels, part by part;
    they leave tile by tile, a block of each kernel after another. A block is put out in each cycle
    in which it is taken, but for a few cycles between bands.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    i : ``In(ArrayLayout(Part(parameters), drains))``
        The last of the drains is the last one to end a band.
    band : ``In(stream.Signature(Band(...), always_ready=True))``
        Bands in order, each before it ends.
    o : ``Out(stream.Signature(Block(parameters)))``
    freed : ``Out(1)``
        Whether there is room for one more band.
    """

    # Blocks on their way, and the credit on its way back, make five at full rate.
    ROOM = 3 + Ram.LATENCY
    BANDS = 2

    def __init__(self, parameters):
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(data.ArrayLayout(Part(p), p.drains)),
                "band": In(stream.Signature(Band(Descriptor(p)), always_ready=True)),
                "o": Out(stream.Signature(Block(p))),
                "freed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.bands = bands = Queue(self.band.payload.shape(), depth=self.BANDS)
        m.submodules.blocks = blocks = Queue(self.o.payload.shape(), depth=self.ROOM)
        m.d.comb += [bands.i.payload.eq(self.band.payload), bands.i.valid.eq(self.band.valid)]

        # A band is read when it is complete. Its fields are kept in registers, and so is whether a
        # block is the last one of its tile, and the tile that of its band.
        band = Signal(self.band.payload.shape())
        complete = Signal(range(self.BANDS + 1))
        active, reads, starts, ends = Signal(), Signal(), Signal(), Signal()
        m.d.sync += complete.eq(complete + self.i[-1].ends_band - ends)
        issued = Signal(range(self.ROOM + 1))
        m.d.comb += reads.eq(active & (issued != self.ROOM))
        m.d.sync += issued.eq(issued + reads - (self.o.valid & self.o.ready))

        bank = Signal()
        address, of_group, of_tile = (
            Signal(range(p.output_depth // 2), name=name)
            for name in ("address", "of_group", "of_tile")
        )
        drain, number = Signal(range(p.drains)), Signal(range(p.kernels))
        inside = Signal(range(p.per_drain))
        kernels, tiles = Signal.like(band.kernels), Signal.like(band.band)  # still to come
        last_kernel, last_tile, only_kernel = Signal(), Signal(), Signal()
        with m.If(reads):
            m.d.sync += [kernels.eq(kernels - 1), last_kernel.eq(kernels == 1)]
            m.d.sync += [number.eq(number + 1), address.eq(address + 1), inside.eq(inside + 1)]
            with m.If(inside == p.per_drain - 1):
                m.d.sync += [inside.eq(0), drain.eq(drain + 1), address.eq(of_group)]
            with m.If(number == p.kernels - 1):
                group = (of_group + p.per_drain)[: len(address)]
                m.d.sync += [number.eq(0), inside.eq(0), drain.eq(0)]
                m.d.sync += [address.eq(group), of_group.eq(group)]
            with m.If(last_kernel):
                m.d.sync += [kernels.eq(band.kernels - 1), last_kernel.eq(only_kernel)]
                m.d.sync += [number.eq(0), inside.eq(0), drain.eq(0)]
                m.d.sync += [address.eq(of_tile), of_group.eq(of_tile)]
                m.d.sync += of_tile.eq(of_tile + band.stride)
                m.d.sync += [tiles.eq(tiles - 1), last_tile.eq(tiles == 1)]
                m.d.sync += active.eq(~last_tile)
        m.d.sync += ends.eq(reads & last_kernel & last_tile)
        with m.If(ends):
            m.d.sync += bank.eq(~bank)

        waits = ~active & ~bands.o.ready & ~starts & ~ends
        m.d.sync += [bands.o.ready.eq(waits & (complete != 0)), starts.eq(bands.o.ready)]
        with m.If(bands.o.ready):
            m.d.sync += band.eq(bands.o.payload)
        with m.If(starts):
            m.d.sync += [active.eq(1), tiles.eq(band.band - 1), last_tile.eq(band.band == 1)]
            m.d.sync += [kernels.eq(band.kernels - 1), last_kernel.eq(band.kernels == 1)]
            m.d.sync += [only_kernel.eq(band.kernels == 1), of_tile.eq(band.stride)]
            m.d.sync += [address.eq(0), of_group.eq(0)]
        m.d.comb += self.freed.eq(ends)

        # What one drain wrote is read with the same address from the memories of all.
        place = Cat(address, bank)
        from_drain = delayed(m, drain, cycles=Ram.LATENCY, name="drain")
        options = Signal(data.ArrayLayout(self.o.payload.shape(), p.drains))
        for n in range(p.drains):
            for part in range(p.parts):
                memory = Ram(self.i[n].values.shape(), depth=p.output_depth)
                m.submodules[f"memory_{n}_{part}"] = memory
                m.d.comb += [
                    memory.load.en.eq(self.i[n].parts[part]),
                    memory.load.addr.eq(Cat(self.i[n].place, self.i[n].bank)),
                    memory.load.data.eq(self.i[n].values),
                    memory.address.eq(place),
                ]
                first, column = divmod(part, p.tile)
                for row in range(p.lanes):
                    m.d.comb += options[n][first + row][column].eq(memory.o[row])
        # Memories are far from each other, and so from the queue.
        chosen = Signal.like(blocks.i.payload, reset_less=True)
        m.d.sync += chosen.eq(options[from_drain])
        m.d.comb += [
            blocks.i.payload.eq(chosen),
            blocks.i.valid.eq(delayed(m, reads, cycles=Ram.LATENCY + 1, name="reads")),
            self.o.payload.eq(blocks.o.payload),
            self.o.valid.eq(blocks.o.valid),
            blocks.o.ready.eq(self.o.ready),
        ]
        return m
