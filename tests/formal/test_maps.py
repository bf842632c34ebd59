# amaranth: UnusedElaboratable=no
"""Proofs about the units of feature maps: routes, and what is on offer."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.fixed import Requantise
from hdl.maps.fold import Fold
from hdl.maps.memory import External, OnChip
from hdl.maps.walk import Walk
from hdl.streams import delayed
from tests.formal.prover import Offer, prove

AXES = ("row", "column", "address")


class Loops(Elaboratable):
    """The places of a route, as its steps are defined."""

    def __init__(self, dut):
        self.dut = dut
        self.ports = [dut.route.payload, dut.route.valid, dut.o.ready]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        place = dut.o.p
        m.d.comb += Assume(~ResetSignal())
        m.d.comb += Assume(Cat(level.count != 0 for level in dut.route.p.levels).all())

        # The first route comes at once, and stands; it is the one that is looked at.
        later = delayed(m, Const(1), cycles=1, name="later")
        route = Signal.like(dut.route.p)
        m.d.comb += Assume(later | dut.route.valid)
        with m.If(~later):
            m.d.sync += route.eq(dut.route.p)
        looked = Signal(init=1)

        # How often each level has gone on before the place on offer, and whether it is through.
        taken = dut.o.valid & dut.o.ready
        carry, lasts = taken, []
        for n, level in enumerate(route.levels):
            number = Signal.like(level.count, name=f"number_{n}")
            last = number == level.count - 1
            with m.If(carry):
                m.d.sync += number.eq(Mux(last, 0, number + 1))
            lasts.append(last)
            carry = carry & last

        # How far that is from the first place.
        here = {}
        for key in ("row", "column", "address"):
            beyond = Signal(len(route[key]), name=f"beyond_{key}")
            here[key] = (route[key] + beyond)[: len(beyond)]
            for n in reversed(range(dut.levels)):
                with m.If(taken & ~lasts[n]):
                    m.d.sync += beyond.eq(beyond + route.levels[n][key])

        with m.If(taken & place.ends_route):
            m.d.sync += looked.eq(0)
        with m.If(dut.o.valid & looked):
            row, column = here["row"].as_signed(), here["column"].as_signed()
            rows = (row >= 0) & (row < route.height)
            columns = (column >= 0) & (column < route.width)
            ends = [last | (route.inner <= n) for n, last in enumerate(lasts)]
            m.d.comb += [
                Assert(place.address == here["address"]),
                Assert(place.inside == (rows & columns)),
                Assert(place.ends_window == Cat(ends).all()),
                Assert(place.ends_route == Cat(lasts).all()),
            ]
        # There is a pause between routes only.
        follows = delayed(m, taken & ~place.ends_route, cycles=1, name="follows")
        m.d.comb += Assert(~follows | dut.o.valid)
        Offer(m, dut.o, name="o").show()
        return m


def test_walk_is_loops(tmp_path):
    """The first one, of three levels, as far as so many cycles go."""
    top = Loops(Walk(levels=3, address_width=2, coordinate_width=2))
    prove(top, tmp_path, ports=top.ports, depth=9, mode="bmc")


def test_walk_proof_can_fail(tmp_path, monkeypatch):
    """With one that takes a row before the first for one that is inside."""
    monkeypatch.setattr("hdl.maps.walk._within", lambda coordinate, length: coordinate < length)
    top = Loops(Walk(levels=2, address_width=2, coordinate_width=2))
    with pytest.raises(AssertionError, match="returned FAIL"):
        prove(top, tmp_path, ports=top.ports, depth=8, mode="bmc")


class RoomForAll(Elaboratable):
    """What is read has room, and what is on offer stands."""

    def __init__(self, dut):
        self.dut = dut
        self.ports = [dut.read.payload, dut.read.valid, dut.write.payload, dut.write.valid]
        self.ports += [dut.data.ready]

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        m.d.comb += Assume(~ResetSignal())
        Offer(m, self.dut.data, name="data").show()
        self.rest(m)
        return m

    def rest(self, m):
        queue = m.submodules.queue
        m.d.comb += Assert(~queue.i.valid | queue.i.ready)


class RoomForAnswers(RoomForAll):
    """Of any memory outside that answers nothing but what it was asked."""

    def __init__(self, dut):
        super().__init__(dut)
        self.ports += [dut.command.ready, dut.answer.payload, dut.answer.valid]

    def rest(self, m):
        dut = self.dut
        Offer(m, dut.read, name="read").require()
        Offer(m, dut.write, name="write").require()
        Offer(m, dut.command, name="command").show()
        asked = Signal(4)
        asks = dut.command.valid & dut.command.ready & ~dut.command.p.write
        m.d.sync += asked.eq(asked + asks - dut.answer.valid)
        m.d.comb += Assume(~dut.answer.valid | (asked != 0))
        m.d.comb += Assert(~dut.answer.valid | dut.answer.ready)
        # Whoever waits while commands are taken has one taken at the latest after those of a turn.
        for name, stream in ("read", dut.read), ("write", dut.write):
            waits = stream.valid & ~stream.ready
            if name == "read":
                waits = waits & m.submodules.places.i.ready
            others = Signal(4, name=f"others_{name}")
            with m.If(~waits):
                m.d.sync += others.eq(0)
            with m.Elif(dut.command.valid & dut.command.ready):
                m.d.sync += others.eq(others + 1)
            m.d.comb += Assert(others <= dut.TURN + 1)


def test_on_chip_has_room(tmp_path):
    top = RoomForAll(OnChip(1, depth=2))
    prove(top, tmp_path, ports=top.ports, depth=11, mode="bmc")


@pytest.mark.parametrize("reads", [2, 3])
def test_external_has_room(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(External, "TURN", 2)
    top = RoomForAnswers(External(1, address_width=1, reads=reads))
    prove(top, tmp_path, ports=top.ports, depth=9, mode="bmc")


class RoomForWords(Elaboratable):
    """There is room for each word that is made, and what is on offer stands."""

    def __init__(self, dut):
        self.dut = dut
        self.ports = [dut.folding.payload, dut.folding.valid, dut.i.payload, dut.i.valid]
        self.ports += [dut.o.ready]

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        m.d.comb += Assume(~ResetSignal())
        queue = m.submodules.queue
        m.d.comb += Assert(~queue.i.valid | queue.i.ready)
        Offer(m, self.dut.o, name="o").show()
        return m


@pytest.mark.parametrize("scan_width", [1, 2])
def test_fold_has_room(tmp_path, monkeypatch, scan_width):
    """With little of it, which fills in so many cycles, and quick arithmetic."""
    monkeypatch.setattr(Fold, "_ahead", 2)
    monkeypatch.setattr(Requantise, "_STEP", 8)
    dut = Fold(scan_width=scan_width, activation_width=1, accumulator_width=1, factor_width=1)
    top = RoomForWords(dut)
    prove(top, tmp_path, ports=top.ports, depth=dut.latency + 6, mode="bmc")
