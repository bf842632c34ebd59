"""A run: one layer of one vector."""

from amaranth import *
from amaranth.lib import enum

__all__ = ["Origin", "begin"]


class Origin(enum.Enum, shape=3):
    """Which layer a run is of, given the run before it.

    A program is in stages, one or more layers each, and a stage is gone through as often as there
    are vectors for it. Most devices have programs of one stage, and know neither of the last two.
    """

    NONE = 0  # no run begins
    FIRST = 1  # the first of the stage
    SAME = 2  # the same, for another vector
    NEXT = 3
    ENTER = 4  # the first of the next stage
    RESTART = 5  # the first of the program


def begin(m, origin, place, *, name, stages):
    """Take ``place``, an address that goes up with every layer, to where a run begins.

    After a run it is where the next layer begins. Where the run itself began is kept in a register
    ``name`` of module ``m``, and, if there are ``stages``, where its stage began in another one.
    """
    first = Signal.like(place, name=name)
    base = Signal.like(place, name=f"{name}_of_stage") if stages else Const(0)
    with m.If(origin == Origin.FIRST):
        m.d.sync += [place.eq(base), first.eq(base)]
    with m.If(origin == Origin.SAME):
        m.d.sync += place.eq(first)
    with m.If(origin == Origin.NEXT):
        m.d.sync += first.eq(place)
    if stages:
        with m.If(origin == Origin.ENTER):
            m.d.sync += [first.eq(place), base.eq(place)]
        with m.If(origin == Origin.RESTART):
            m.d.sync += [place.eq(0), first.eq(0), base.eq(0)]
