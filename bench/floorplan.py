"""A floor plan for ECP5: the blocks of each element side by side, neighbours next to each other.

nextpnr places blocks of RAM and multipliers by themselves. With most of them in use, some end up
half a device away from the registers behind them. So they are told where to go: elements follow
each other in the order of their chains, to and fro along the rows of block RAM.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

__all__ = ["Site", "arrange", "probe", "sites"]

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
