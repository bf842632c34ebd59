"""The transforms of Winograd's F(m x m, 3 x 3), in additions.

Each is a product of integer matrices, of which every row takes one addition at most: it has two
terms, each of which is an operand times a power of two, with a sign. :mod:`golden.winograd` has
where the transforms come from; the products are its matrices.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "INPUTS",
    "INVERSES",
    "ODDS",
    "OUTPUTS",
    "SHIFTS",
    "WEIGHTS",
    "Sums",
    "Transform",
    "moduli",
    "numbers",
    "planes",
    "width_of",
    "widths",
]

# Each is a list of matrices by m; the first one meets the operands. With an m of 1 there is nothing
# to transform: it is direct convolution.
# fmt: off
INPUTS = {
    1: (
        ((1, 0, 0),
         (0, 1, 0),
         (0, 0, 1)),
    ),
    2: (
        ((1, 0, -1, 0),
         (0, 1, 1, 0),
         (0, -1, 1, 0),
         (0, -1, 0, 1)),
    ),
    4: (
        ((1, 0, -1, 0, 0, 0),
         (0, 0, -1, 0, 1, 0),
         (0, 0, 4, 0, -1, 0),
         (0, 4, 0, -1, 0, 0),
         (0, -1, 0, 1, 0, 0),
         (0, 0, 0, -1, 0, 1)),
        ((4, 1, 0, 0, 0, 0),
         (0, 0, 1, 1, 0, 0),
         (0, 0, 1, -1, 0, 0),
         (0, 1, 0, 0, 2, 0),
         (0, 1, 0, 0, -2, 0),
         (0, 0, 0, 0, -4, 1)),
    ),
}
"""B."""

WEIGHTS = {
    1: (
        ((1, 0, 0),
         (0, 1, 0),
         (0, 0, 1)),
    ),
    2: (
        ((1, 0, 0),
         (0, 1, 0),
         (0, 0, 1),
         (1, 0, 1)),
        ((1, 0, 0, 0),
         (0, 1, 0, 1),
         (0, -1, 0, 1),
         (0, 0, 1, 0)),
    ),
    4: (
        ((1, 0, 0),
         (0, 1, 0),
         (0, 0, 1),
         (1, 0, 1),
         (1, 0, 4)),
        ((1, 0, 0, 0, 0),
         (0, 1, 0, 1, 0),
         (0, -1, 0, 1, 0),
         (0, 2, 0, 0, 1),
         (0, -2, 0, 0, 1),
         (0, 0, 1, 0, 0)),
    ),
}
"""G."""

OUTPUTS = {
    1: (
        ((1, 1, 0),
         (0, 0, 1)),
        ((1, 1),),
    ),
    2: (
        ((1, 0, 0, 0),
         (0, 1, 1, 0),
         (0, 1, -1, 0),
         (0, 0, 0, 1)),
        ((2, 1, 0, 0),
         (0, 0, 1, 2)),
    ),
    4: (
        ((3, 0, 0, 0, 0, 0),
         (0, 1, 1, 0, 0, 0),
         (0, 1, -1, 0, 0, 0),
         (0, 0, 0, 1, 1, 0),
         (0, 0, 0, 1, -1, 0),
         (0, 0, 0, 0, 0, 3)),
        ((2, 4, 0, 0, 0, 0),
         (0, 0, 0, 1, 0, 0),
         (0, 0, 4, 0, 2, 0),
         (0, 4, 0, 4, 0, 0),
         (0, 0, 4, 0, 8, 0),
         (0, 0, 0, 0, 0, 1)),
        ((1, 1, 0, 0, 0, 0),
         (0, 0, 1, 0, 0, 0),
         (0, 0, 0, 1, 0, 0),
         (0, 0, 0, 0, 1, 8)),
    ),
}
"""A."""
# fmt: on

SHIFTS = {1: 0, 2: 2, 4: 6}
"""How many times two divides ``s**2``."""

ODDS = {1: (0,), 2: (0,), 4: (0, 3)}
"""What remains of ``s**2``: the sum of these powers of two."""

INVERSES = {1: (), 2: (), 4: ((-1, 3), (1, 6), (1, 12), (1, 24), (1, 48))}
"""That, inverted modulo powers of two: the product of ``1 + sign * 2**shift``.

For 4 it is 9, and 1 - 8 times 9 is 1 - 2**6, that times 1 + 2**6 is 1 - 2**12, and so on.
"""


def _digits(factor):
    """Terms of an operand times ``factor``: pairs of a sign and a shift."""
    sign = 1 if factor > 0 else -1
    return [(sign, n) for n in range(factor.bit_length()) if abs(factor) >> n & 1]


def _limits(width):
    """Least and largest number of ``width`` bits, in two's complement."""
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def _ranges(matrix, operands):
    """Least and largest result of each row, for operands in ranges of their own."""
    results = []
    for row in matrix:
        ends = [
            sorted((factor * low, factor * high))
            for factor, (low, high) in zip(row, operands, strict=True)
        ]
        results.append((sum(low for low, _ in ends), sum(high for _, high in ends)))
    return results


def moduli(matrix, bits):
    """How many bits of each operand matter, if ``bits`` of each result do.

    An operand that comes in times ``2**n`` only need not have its upper n bits.
    """
    return [
        max(
            width - _digits(row[n])[0][1] for row, width in zip(matrix, bits, strict=True) if row[n]
        )
        for n in range(len(matrix[0]))
    ]


def width_of(low, high):
    """Bits of two's complement numbers from ``low`` to ``high``."""
    return max(high.bit_length(), (-low - 1).bit_length()) + 1


def planes(matrices, width):
    """Least and largest numbers before, between and after the steps of a :class:`Transform`.

    Each is a list of rows. Steps go along the columns first, then along the rows.
    """
    columns = len(matrices[0][0])
    steps = [[[_limits(width)] * columns for _ in range(columns)]]
    for matrix in matrices:
        steps.append(_turned([_ranges(matrix, column) for column in _turned(steps[-1])]))
    for matrix in matrices:
        steps.append([_ranges(matrix, row) for row in steps[-1]])
    return steps


def widths(matrices, width):
    """Bits of the results of a :class:`Transform`, row by row."""
    return [width_of(*ends) for row in planes(matrices, width)[-1] for ends in row]


class Sums(wiring.Component):
    """``o = matrix x i``, one a cycle, after a cycle. At most an addition for each result.

    Parameters
    ----------
    matrix : tuple of tuples of :class:`int`
    operands, results : lists of :class:`int`
        Bits of each, two's complement. Results wrap around if they do not fit.

    Members
    -------
    i : ``In(StructLayout)``
        Operands ``"0"``, ``"1"``, ...
    o : ``Out(StructLayout)``
        Results alike.
    """

    LATENCY = 1

    def __init__(self, matrix, operands, results):
        self.matrix = matrix
        super().__init__({"i": In(numbers(operands)), "o": Out(numbers(results))})

    def elaborate(self, platform):
        m = Module()
        for n, row in enumerate(self.matrix):
            terms = [
                (sign, self.i[str(k)] << shift)
                for k, factor in enumerate(row)
                for sign, shift in _digits(factor)
            ]
            # What is subtracted comes last: a negation would be one more addition.
            (_, total), *others = sorted(terms, key=lambda term: -term[0])
            for sign, term in others:
                total = total + term if sign > 0 else total - term
            result = Signal.like(self.o[str(n)], name=f"result_{n}", reset_less=True)
            m.d.sync += result.eq(total)
            m.d.comb += self.o[str(n)].eq(result)
        return m


def numbers(widths):
    """Layout of two's complement numbers ``"0"``, ``"1"``, ... of these widths."""
    return data.StructLayout({str(n): signed(width) for n, width in enumerate(widths)})


class Transform(wiring.Component):
    """``o = M i M'``, one a cycle, :meth:`latency` cycles later, for M a product of matrices.

    Numbers are as wide as they have to be for all operands. Operands come from one place, and rows
    of results go to different ones. Before the last step there are the fewest bits on that way, so
    that it is longest there: it has a register more.

    Parameters
    ----------
    matrices : tuple of matrices
        Their product is M; the first one meets the operands.
    width : :class:`int`
        Bits of an operand, two's complement.

    Members
    -------
    i : ``In(ArrayLayout(ArrayLayout(signed(width), columns), columns))``
        As many rows and columns as M has columns.
    o : ``Out(numbers(widths))``
        Results, row by row.

    Attributes
    ----------
    widths : list of :class:`int`
        Bits of the results, row by row.
    """

    def __init__(self, matrices, *, width):
        self.matrices = matrices
        self.width = width
        columns = len(matrices[0][0])
        self.planes = planes(matrices, width)
        self.widths = widths(matrices, width)
        super().__init__(
            {
                "i": In(data.ArrayLayout(data.ArrayLayout(signed(width), columns), columns)),
                "o": Out(numbers(self.widths)),
            }
        )

    @staticmethod
    def latency(matrices):
        """Cycles."""
        return 2 * len(matrices) * Sums.LATENCY + 1

    def elaborate(self, platform):
        m = Module()
        size = len(self.i)
        plane = [[self.i[row][column] for column in range(size)] for row in range(size)]
        for n, matrix in enumerate(self.matrices * 2):
            before, after = self.planes[n : n + 2]
            along_columns = n < len(self.matrices)
            if along_columns:
                plane, before, after = _turned(plane), _turned(before), _turned(after)
            lines = []
            for k, line in enumerate(plane):
                sums = Sums(
                    matrix,
                    [width_of(*ends) for ends in before[k]],
                    [width_of(*ends) for ends in after[k]],
                )
                m.submodules[f"step_{n}_{k}"] = sums
                for j, number in enumerate(line):
                    if n == 2 * len(self.matrices) - 1:
                        operand = Signal.like(number, name=f"operand_{k}_{j}", reset_less=True)
                        m.d.sync += operand.eq(number)
                        number = operand
                    m.d.comb += sums.i[str(j)].eq(number)
                lines.append([sums.o[str(j)] for j in range(len(matrix))])
            plane = _turned(lines) if along_columns else lines
        results = [number for row in plane for number in row]
        m.d.comb += [self.o[str(n)].eq(number) for n, number in enumerate(results)]
        return m


def _turned(plane):
    """Rows as columns."""
    return [list(line) for line in zip(*plane, strict=True)]
