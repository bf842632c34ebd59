# amaranth: UnusedElaboratable=no
"""Memory outside, in simulation: how long it takes, and a prediction of that."""

from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import ClockSignal, Instance, Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.maps.memory import Command, External
from hdl.streams import delayed

__all__ = ["MODULE", "Distant", "Outside", "predict"]

MODULE = Path(__file__).with_suffix(".v")
"""Verilog of the module that its words are in; generated Verilog needs it beside it."""


class Outside(wiring.Component):
    """Memory, one command after the other.

    A read is answered ``latency`` cycles after its command was taken. The next command is taken
    ``every`` cycles after a command, at the earliest, and ``turnaround`` cycles later than that
    if one is a read and the other a write. There is no backpressure on answers.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    address_width : int
        Bits of an address.
    latency, every : int
        Cycles, at least 1.
    turnaround : int
        Cycles, at least 0.

    Members
    -------
    command : ``In(stream.Signature(Command(shape, address_width)))``
    answer : ``Out(stream.Signature(shape))``
    """

    def __init__(
        self,
        shape: Any,
        *,
        address_width: int,
        latency: int = 1,
        every: int = 1,
        turnaround: int = 0,
    ) -> None:
        for name, value, least in (
            ("latency", latency, 1),
            ("every", every, 1),
            ("turnaround", turnaround, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise TypeError(f"{name} must be an integer of at least {least}, not {value!r}")
        self.latency = latency
        self.every = every
        self.turnaround = turnaround
        super().__init__(
            {
                "command": In(stream.Signature(Command(shape, address_width))),
                "answer": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        command = self.command
        taken = command.valid & command.ready

        # Cycles since the last command, up to what all commands wait for.
        longest = self.every + self.turnaround - 1
        since = Signal(range(longest + 1), init=longest)
        writes = Signal()
        with m.If(taken):
            m.d.sync += [since.eq(0), writes.eq(command.p.write)]
        with m.Elif(since != longest):
            m.d.sync += since.eq(since + 1)
        changes = command.p.write ^ writes
        m.d.comb += command.ready.eq(since >= Mux(changes, longest, self.every - 1))

        word = Signal.like(self.answer.payload)
        m.submodules.words = Instance(
            "outside_words",
            p_WIDTH=Shape.cast(self.answer.payload.shape()).width,
            p_ADDRESS_WIDTH=len(command.p.address),
            i_clk=ClockSignal(),
            i_address=command.p.address,
            i_write=taken & command.p.write,
            i_word=Value.cast(command.p.word),
            o_o=Value.cast(word),
        )
        reads = taken & ~command.p.write
        m.d.comb += [
            self.answer.valid.eq(delayed(m, reads, cycles=self.latency, name="reads")),
            self.answer.payload.eq(delayed(m, word, cycles=self.latency - 1, name="word")),
        ]
        return m


class Distant(wiring.Component):
    """:class:`~hdl.maps.memory.External` with :class:`Outside` behind it: a memory as any other.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    address_width : int
        Bits of an address.
    reads : int
        As of :class:`~hdl.maps.memory.External`.
    timing : int
        As of :class:`Outside`.

    Members
    -------
    read, data, write, idle
        As of :class:`~hdl.maps.memory.External`.
    """

    def __init__(self, shape: Any, *, address_width: int, reads: int, **timing: int) -> None:
        self.external = External(shape, address_width=address_width, reads=reads)
        self.outside = Outside(shape, address_width=address_width, **timing)
        self.address_width = address_width
        self.shape = shape
        members = self.external.signature.members
        super().__init__({name: members[name] for name in ("read", "data", "write", "idle")})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.external = external = self.external
        m.submodules.outside = outside = self.outside
        for name in "read", "write":
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(external, name))
        wiring.connect(m, external.data, wiring.flipped(self.data))
        wiring.connect(m, external.command, outside.command)
        wiring.connect(m, outside.answer, external.answer)
        m.d.comb += self.idle.eq(external.idle)
        return m


def predict(
    writes: np.ndarray, offered: np.ndarray, *, latency: int, every: int, turnaround: int
) -> tuple[np.ndarray, np.ndarray]:
    """When :class:`Outside` takes commands, and when it answers.

    Parameters
    ----------
    writes : ndarray of bool, ``(commands,)``
        Whether each of them is a write.
    offered : ndarray of int64, ``(commands,)``
        Cycle in which each is on offer, at the earliest.
    latency, every, turnaround : int
        As of :class:`Outside`.

    Returns
    -------
    taken : ndarray of int64, ``(commands,)``
        Cycle in which each is taken.
    answered : ndarray of int64, ``(reads,)``
        Cycle in which the answer of each read is on offer.

    Examples
    --------
    >>> import numpy as np
    >>> taken, answered = predict(
    ...     np.array([0, 0, 1, 0]) > 0, np.array([5, 0, 0, 20]), latency=6, every=2, turnaround=3)
    >>> taken.tolist(), answered.tolist()
    ([5, 7, 12, 20], [11, 13, 26])
    """
    gaps = np.full(len(writes), every, np.int64)
    gaps[1:] += turnaround * (writes[1:] != writes[:-1])
    # Without waiting for an offer, so much later than the first one.
    least = np.cumsum(gaps)
    taken = np.maximum.accumulate(offered - least) + least
    return taken, taken[~writes] + latency
