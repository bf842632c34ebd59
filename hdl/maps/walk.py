"""Goes through the words of a feature map, window by window."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Level", "Place", "Route", "Walk"]


class Level(data.StructLayout):
    """A loop of a route.

    Parameters
    ----------
    address_width, coordinate_width : :class:`int`
        As of :class:`Walk`.
    """

    def __init__(self, address_width, coordinate_width):
        super().__init__(
            {
                "count": coordinate_width,  # at least 1
                # From its place to the next one, where all inner levels begin again.
                "row": signed(coordinate_width),
                "column": signed(coordinate_width),
                "address": signed(address_width),
            }
        )


class Route(data.StructLayout):
    """Loops within loops, the innermost first.

    Parameters
    ----------
    levels, address_width, coordinate_width : :class:`int`
        As of :class:`Walk`.
    """

    def __init__(self, levels, address_width, coordinate_width):
        super().__init__(
            {
                "levels": data.ArrayLayout(Level(address_width, coordinate_width), levels),
                "inner": range(levels + 1),  # so many of them are a window
                # The first place.
                "row": signed(coordinate_width),
                "column": signed(coordinate_width),
                "address": address_width,
                # Of the map.
                "height": coordinate_width - 1,
                "width": coordinate_width - 1,
            }
        )


class Place(data.StructLayout):
    """A word of a map.

    Parameters
    ----------
    address_width : :class:`int`
        As of :class:`Walk`.
    """

    def __init__(self, address_width):
        super().__init__(
            {
                "address": address_width,
                "inside": 1,  # otherwise it is padding, and the address is that of another word
                "ends_window": 1,
                "ends_route": 1,
            }
        )


class Walk(wiring.Component):
    """Tells the places of a route, one a cycle.

    A place has a row, a column and an address, which are added to as loops go on, modulo their
    bits; it is inside if the row and the column are those of the map. When all levels within a
    level are through, its step is added to all three, so a step is what the level itself goes on
    by, less what the levels within have gone by then:

        step = stride - sum(stride of each level within * (its count - 1))

    The first place is on offer :attr:`LATENCY` cycles after its route is taken. There is no pause
    between levels. The next route can be taken while the last place is on offer.

    Parameters
    ----------
    levels : :class:`int`
        Loops of a route.
    address_width : :class:`int`
        Bits of an address.
    coordinate_width : :class:`int`
        Bits of a row or of a column, two's complement, and of a count. At least 2.

    Members
    -------
    route : ``In(stream.Signature(Route(levels, address_width, coordinate_width)))``
    o : ``Out(stream.Signature(Place(address_width)))``
    """

    LATENCY = 3

    def __init__(self, *, levels=5, address_width=20, coordinate_width=12):
        for name, value, least in (
            ("levels", levels, 1),
            ("address_width", address_width, 1),
            ("coordinate_width", coordinate_width, 2),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise TypeError(f"{name} must be an integer of at least {least}, not {value!r}")
        self.levels = levels
        super().__init__(
            {
                "route": In(stream.Signature(Route(levels, address_width, coordinate_width))),
                "o": Out(stream.Signature(Place(address_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Places go through three registers: loops, position, what is on offer.
        route = Signal.like(self.route.payload)
        active, told = Signal(), Signal()
        moves, goes = Signal(), Signal()
        m.d.comb += [
            self.route.ready.eq(~active & ~told),
            moves.eq(~self.o.valid | self.o.ready),
            goes.eq(active & moves),
        ]
        with m.If(self.route.ready):
            m.d.sync += [route.eq(self.route.payload), active.eq(self.route.valid)]
        last = self._count(m, route, goes)
        with m.If(goes & last.all()):
            m.d.sync += active.eq(0)

        # The step that follows a place is chosen while that place is told.
        first = Signal()
        step = Signal(data.StructLayout({key: route[key].shape() for key in _POSITION}))
        position = Signal.like(step)
        ends_window, ends_route = Signal(), Signal()
        with m.If(self.route.ready):
            m.d.sync += first.eq(1)
        with m.If(goes):
            m.d.sync += [
                first.eq(0),
                ends_window.eq(Cat(last[n] | (route.inner <= n) for n in range(self.levels)).all()),
                ends_route.eq(last.all()),
            ]
            m.d.sync += [step[key].eq(route.levels[-1][key]) for key in _POSITION]
            for n in reversed(range(self.levels - 1)):
                with m.If(~last[n]):
                    m.d.sync += [step[key].eq(route.levels[n][key]) for key in _POSITION]
            for key in _POSITION:
                m.d.sync += position[key].eq(Mux(first, route[key], position[key] + step[key]))

        with m.If(moves):
            m.d.sync += [
                told.eq(active),
                self.o.valid.eq(told),
                self.o.p.address.eq(position.address),
                self.o.p.inside.eq(
                    _within(position.row, route.height) & _within(position.column, route.width)
                ),
                self.o.p.ends_window.eq(ends_window),
                self.o.p.ends_route.eq(ends_route),
            ]

        return m

    def _count(self, m, route, goes):
        """Which levels are at their last place, as a register."""
        last = Signal(self.levels)
        for n, level in enumerate(self.route.p.levels):
            count = route.levels[n].count
            left = Signal.like(count, name=f"left_{n}")
            single = Signal(name=f"single_{n}")
            with m.If(self.route.ready):
                m.d.sync += [
                    left.eq(level.count),
                    single.eq(level.count == 1),
                    last[n].eq(level.count == 1),
                ]
            with m.If(goes & last[:n].all()):
                m.d.sync += left.eq(Mux(last[n], count, left - 1))
                m.d.sync += last[n].eq(Mux(last[n], single, left == 2))
        return last


_POSITION = ("row", "column", "address")


def _within(coordinate, length):
    """Whether it is one of 0 to ``length`` - 1. As an unsigned number a negative one is larger."""
    return coordinate.as_unsigned() < length
