"""Pictures are what the design does, and stay small."""

from xml.etree import ElementTree

import pytest

from docs.timing import PICTURES, draw


def test_timing_diagrams_are_of_this_design(tmp_path):
    draw(tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(drawn) == ["layers.svg", "timing.svg"]
    for name, picture in drawn.items():
        assert picture == (PICTURES / name).read_text(), f"{name}: run python -m docs.timing"


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.name)
def test_vector_graphics(path):
    assert path.stat().st_size < 100_000
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox")
