# amaranth: UnusedElaboratable=no
"""The units of :mod:`hdl.maps` in a row, as a layer without weights takes them."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from hdl.maps.fold import Fold
from hdl.maps.memory import OnChip
from hdl.maps.walk import Walk
from sim.memory import Distant

__all__ = ["Chain"]


class Chain(wiring.Component):
    """Reads maps from a memory on a route, folds them, and writes what comes of it on another.

    Parameters
    ----------
    fold : Fold
    source, result : OnChip or Distant
        Memories of its words.

    Members
    -------
    route, target : ``In(stream.Signature(Route(5, address_width, 8)))``
        What to read and where to write.
    folding
        As of :class:`~hdl.maps.fold.Fold`.
    write, idle
        Of the memory with the maps to read.
    read, data, done
        Of that with the results; ``done`` is its ``idle``.
    """

    def __init__(self, fold: Fold, source: OnChip | Distant, result: OnChip | Distant) -> None:
        self.fold = fold
        self.memories = source, result
        self.walks = [
            Walk(levels=5, address_width=memory.address_width, coordinate_width=8)
            for memory in self.memories
        ]
        super().__init__(
            {
                "route": self.walks[0].signature.members["route"],
                "target": self.walks[1].signature.members["route"],
                "folding": fold.signature.members["folding"],
                "write": source.signature.members["write"],
                "idle": source.signature.members["idle"],
                "read": result.signature.members["read"],
                "data": result.signature.members["data"],
                "done": result.signature.members["idle"],
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        source, result = self.memories
        reads, writes = self.walks
        m.submodules += [source, result, reads, writes]
        m.submodules.fold = fold = self.fold
        for outer, inner in (
            (self.route, reads.route),
            (self.target, writes.route),
            (self.folding, fold.folding),
            (self.write, source.write),
            (self.read, result.read),
        ):
            wiring.connect(m, wiring.flipped(outer), inner)
        wiring.connect(m, result.data, wiring.flipped(self.data))
        wiring.connect(m, reads.o, source.read)
        wiring.connect(m, source.data, fold.i)

        # A word and its place leave together.
        m.d.comb += [
            result.write.valid.eq(fold.o.valid & writes.o.valid),
            result.write.p.address.eq(writes.o.p.address),
            result.write.p.word.eq(fold.o.payload),
            fold.o.ready.eq(result.write.ready & writes.o.valid),
            writes.o.ready.eq(result.write.ready & fold.o.valid),
            self.idle.eq(source.idle),
            self.done.eq(result.idle),
        ]
        return m
