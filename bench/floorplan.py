"""A floor plan for ECP5: the blocks of each element side by side, neighbours next to each other.

nextpnr places blocks of RAM and multipliers by themselves. With most of them in use, some end up
half a device away from the registers behind them. So they are told where to go: elements follow
each other in the order of their chains, to and fro along the rows of block RAM; and kernels of a
convolution, of which each has rows of multipliers, from left to right, with the memories of windows
in a corner.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

__all__ = ["Site", "arrange", "arrange_kernels", "probe", "sites"]

RAM, MULTIPLIER = "DP16KD", "MULT18X18D"
_PLACE = re.compile(r"X(\d+)/Y(\d+)/")


@dataclass(frozen=True)
class Site:
    """A place for a block: its column and row, and nextpnr's name for it."""

    x: int
    y: int
    bel: str


def probe(numbers: dict[str, int]) -> str:
    """Verilog with so many blocks of each kind, which do nothing.

    Placed with as many as a device has, they tell all of its sites.
    """
    ports = {
        RAM: ".CLKA(clk), .CLKB(clk), .DIA0(i), .CEA(1'b1), .OCEA(1'b1), .WEA(1'b1), .CEB(1'b1), "
        ".OCEB(1'b1), .DOB0",
        MULTIPLIER: ".A0(i), .B0(i), .P0",
    }
    lines = ["module top(input clk, input i, output o);"]
    for kind, number in numbers.items():
        lines += [f"wire {kind}_o_{n};" for n in range(number)]
        lines += [
            f"(* keep *) {kind} {kind}_{n} ({ports[kind]}({kind}_o_{n}));" for n in range(number)
        ]
    return "\n".join([*lines, f"assign o = {RAM}_o_0;", "endmodule", ""])


def sites(netlist: dict[str, Any]) -> dict[str, list[Site]]:
    """Sites of each kind, row by row, of a probe as nextpnr wrote it."""
    found: dict[str, list[Site]] = {RAM: [], MULTIPLIER: []}
    for cell in netlist["modules"]["top"]["cells"].values():
        bel = cell["attributes"].get("NEXTPNR_BEL", "")
        if cell["type"] in found and (place := _PLACE.match(bel)):
            found[cell["type"]].append(Site(int(place[1]), int(place[2]), bel))
    for of_kind in found.values():
        of_kind.sort(key=lambda site: (site.y, site.x))
    return found


def arrange(netlist: dict[str, Any], available: dict[str, list[Site]]) -> int:
    """Give the blocks of all elements their sites; returns the number of elements.

    Parameters
    ----------
    netlist : dict
        As Yosys writes it. The cells of element n are those whose names have ``element_n.``.
    available : dict
        As :func:`sites` returns it.

    Raises
    ------
    ValueError
        If there are not enough sites in the rows.
    """
    cells = netlist["modules"]["top"]["cells"]
    own: dict[int, dict[str, list[str]]] = defaultdict(lambda: {RAM: [], MULTIPLIER: []})
    for name, cell in cells.items():
        if cell["type"] in available and (element := re.search(r"\belement_(\d+)\.", name)):
            own[int(element[1])][cell["type"]].append(name)
    order = sorted(own)
    if not order:
        return 0
    need = max(len(blocks[RAM]) for blocks in own.values())

    rows: dict[int, list[Site]] = defaultdict(list)
    for site in available[RAM]:
        rows[site.y].append(site)
    capacities = [len(row) // need for row in rows.values()]
    if sum(capacities) < len(order):
        raise ValueError(
            f"{len(order)} elements of {need} blocks of RAM do not fit {len(rows)} rows of "
            f"{', '.join(str(len(row)) for row in rows.values())}"
        )

    multipliers = set(available[MULTIPLIER])
    waiting = list(order)
    for turn, row in enumerate(rows.values()):
        # As many as there are in each of the rows that are left, spread over the whole row.
        here = [waiting.pop(0) for _ in range(-(-len(waiting) // (len(rows) - turn)))]
        line = row if turn % 2 == 0 else row[::-1]
        for n, element in enumerate(here):
            first = ((2 * n + 1) * len(line) - need * len(here)) // (2 * len(here))
            mine = line[first : first + need]
            for name, site in zip(sorted(own[element][RAM]), mine, strict=False):
                cells[name]["attributes"]["BEL"] = site.bel
            middle = sum(site.x for site in mine) / len(mine)
            for name in own[element][MULTIPLIER]:
                nearest = min(
                    multipliers, key=lambda site: abs(site.x - middle) + abs(site.y - mine[0].y)
                )
                multipliers.remove(nearest)
                cells[name]["attributes"]["BEL"] = nearest.bel
    return len(order)


def arrange_kernels(netlist: dict[str, Any], available: dict[str, list[Site]]) -> int:
    """Give the blocks of all kernels and windows their sites; returns the number of kernels.

    If the rows of a kernel can be shared out to the device's rows of multipliers evenly, a kernel
    is a stripe across them, and each of its rows is beside the same one of the next kernel.
    Otherwise it has its multipliers in one of them, and the next kernel is below or above it, or to
    its right. Block RAM is as near to the multipliers as there is any, rather below than above.

    Windows are side by side in the last two rows of block RAM, in the corner where the first kernel
    is. What comes from them has more registers on its way to each further row of the kernel, so
    that these go from there upwards.

    Parameters
    ----------
    netlist : dict
        As Yosys writes it. The cells of row k of kernel n are those whose names have
        ``kernel_n.row_k.``; if there is only one kernel, ``kernel.row_k.``. Those of windows have
        ``windows.lane_``.
    available : dict
        As :func:`sites` returns it.

    Raises
    ------
    ValueError
        If there are not enough sites in the rows.
    """
    cells = netlist["modules"]["top"]["cells"]
    own: dict[int, dict[int, dict[str, list[str]]]] = defaultdict(
        lambda: defaultdict(lambda: {RAM: [], MULTIPLIER: []})
    )
    for name, cell in cells.items():
        place = re.search(r"\bkernel(?:_(\d+))?\.row_(\d+)\.", name)
        if cell["type"] in available and place:
            own[int(place[1] or 0)][int(place[2])][cell["type"]].append(name)
    if not own:
        return 0
    lines = {kind: _lines(of_kind) for kind, of_kind in available.items()}

    # Parts of kernels, in order, and how many multipliers each has.
    height = len(lines[MULTIPLIER])
    rows = len(own[min(own)])
    share = rows // height if rows % height == 0 else rows
    parts = [
        [of_kernel[row] for row in sorted(of_kernel)[first : first + share]]
        for _, of_kernel in sorted(own.items())
        for first in range(0, rows, share)
    ]
    width = max(sum(len(row[MULTIPLIER]) for row in part) for part in parts)
    stripes = -(-len(parts) // height)
    length = len(lines[MULTIPLIER][0])
    if stripes * width > length:
        raise ValueError(
            f"{stripes} stripes of {width} multipliers do not fit rows of {length} multipliers"
        )

    windows = sorted(
        name
        for name, cell in cells.items()
        if cell["type"] == RAM and re.search(r"\bwindows\.lane_", name)
    )
    corner = sorted(sum(lines[RAM][-2:], []), key=lambda site: (site.x, site.y))
    for name, site in zip(windows, corner, strict=False):
        cells[name]["attributes"]["BEL"] = site.bel
    memories = set(available[RAM]) - set(corner[: len(windows)])

    first = (length - stripes * width) // 2
    for n, part in enumerate(parts):
        stripe, line = divmod(n, height)
        if share < rows or stripe % 2 == 0:
            line = height - 1 - line
        begin = first + stripe * width
        mine = iter(lines[MULTIPLIER][line][begin : begin + width])
        for row in part:
            at = [next(mine) for _ in row[MULTIPLIER]]
            for name, site in zip(sorted(row[MULTIPLIER]), at, strict=True):
                cells[name]["attributes"]["BEL"] = site.bel
            for name in sorted(row[RAM]):
                nearest = min(memories, key=lambda site: _distance(site, at))
                memories.remove(nearest)
                cells[name]["attributes"]["BEL"] = nearest.bel
    return len(own)


def _distance(memory: Site, multipliers: list[Site]) -> tuple[float, int, int]:
    """How far block RAM is from multipliers of a row; of two that are as far, the lower one is
    less."""
    middle = sum(site.x for site in multipliers) / len(multipliers)
    away = abs(memory.x - middle) + abs(memory.y - multipliers[0].y)
    return away, -memory.y, memory.x


def _lines(of_kind: list[Site]) -> list[list[Site]]:
    """Sites by their rows."""
    lines: dict[int, list[Site]] = defaultdict(list)
    for site in of_kind:
        lines[site.y].append(site)
    return list(lines.values())
