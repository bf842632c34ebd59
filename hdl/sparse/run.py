"""A run: one layer of one vector."""

from amaranth import *
from amaranth.lib import enum

__all__ = ["Origin", "begin"]


class Origin(enum.Enum, shape=2):
    """Which layer a run is of, given the run before it."""

    NONE = 0  # no run begins
    FIRST = 1  # the first of the program
    SAME = 2  # the same, for another vector
    NEXT = 3


def begin(m, origin, place, *, name):
    """Take ``place``, an address that goes up with every layer, to where a run begins.

    After a run it is where the next layer begins. Where the run itself began is kept in a register
    ``name`` of module ``m``.
    """
    first = Signal.like(place, name=name)
    with m.If(origin == Origin.FIRST):
        m.d.sync += [place.eq(0), first.eq(0)]
    with m.If(origin == Origin.SAME):
        m.d.sync += place.eq(first)
    with m.If(origin == Origin.NEXT):
        m.d.sync += first.eq(place)
