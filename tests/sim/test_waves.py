"""A trace, and the save file beside it, of a small accelerator."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest

from golden.errors import DeviceError, MismatchError
from golden.nets.random import random_network
from hdl.configuration import PRESETS, Configuration
from mapping import plan
from sim.compiled import CompiledModel
from sim.waves import ELEMENTS, groups

DEVICE = Configuration(
    elements=4,
    scan_width=2,
    activation_width=8,
    weight_depth=256,
    column_depth=64,
    row_depth=8,
    codebook_depth=64,
    bias_depth=64,
    activation_depth=64,
    layer_depth=4,
)


class Trace:
    """A trace in the format VCD (IEEE 1364-2001, chapter 18)."""

    def __init__(self, path):
        head, _, self.body = path.read_text().partition("$enddefinitions $end\n")
        self.codes = {}
        scopes = []
        for words in map(str.split, head.splitlines()):
            if words[:1] == ["$scope"]:
                scopes.append(words[2])
            elif words[:1] == ["$upscope"]:
                scopes.pop()
            elif words[:1] == ["$var"]:
                # The range stands apart from the name.
                self.codes[".".join([*scopes, "".join(words[4:-1])])] = words[3]
        self.unit = re.search(r"\$timescale\s+(\S+)\s+\$end", head)[1]

    def at_edges(self, clock, *names):
        """Time of each rising edge, and values of signals after it, int64 ``(edges, names)``."""
        values, times, rows, time, before = {}, [], [], None, "0"
        codes = [self.codes[name] for name in names]

        def settled():
            if before == "0" and values.get(self.codes[clock]) == "1":
                times.append(time)
                rows.append([int(values[code], 2) for code in codes])

        for line in self.body.splitlines():
            if line.startswith("#"):
                settled()
                time, before = int(line[1:]), values.get(self.codes[clock], "0")
            elif line.startswith("b"):
                value, code = line[1:].split()
                values[code] = value
            elif line:
                values[line[1:].strip()] = line[0]
        settled()
        return np.array(times), np.array(rows)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Path of a trace, and the run that it is of."""
    path = tmp_path_factory.mktemp("waves") / "trace.vcd"
    rng = np.random.default_rng(0)
    network = random_network(rng, shape=(20, 14, 6), activation_width=8)
    with CompiledModel(DEVICE, waves=path) as model:
        model.load(plan(network, DEVICE))
        begin = model.cycles
        first = model.run(rng.integers(-100, 100, (3, 20)), ahead=1, taps=True)
        second = model.run(rng.integers(-100, 100, (20, 20)), ahead=1, taps=True)
    return path, begin, first, second


def test_shows_what_happened(traced):
    path, begin, first, second = traced
    trace = Trace(path)
    assert trace.unit == "1ns"
    names = ["tap_valid", "tap[0][7:0]", "tap[1][7:0]", "layer[1:0]"]
    times, values = trace.at_edges(
        "TOP.harness.prunus.clk", *(f"TOP.harness.prunus.{name}" for name in names)
    )
    assert times[0] == 10 * (begin + 1)
    assert (np.diff(times) >= 10).all()
    shown = values[values[:, 0] == 1]
    blocks = sum(layer.positions for layer in plan_of(traced).layers) // 2
    # The vectors of the first run, and those of the second until there are enough.
    assert CompiledModel.TRACED * blocks <= len(shown) < (CompiledModel.TRACED + 2) * blocks
    activations = np.array(shown[:, 1:3], np.uint8).astype(np.int8)
    for at, run, vector in (0, first, 0), (2, first, 2), (3, second, 0):
        vectors = activations[at * blocks : (at + 1) * blocks].reshape(-1)
        layers = np.split(vectors, np.cumsum([p.positions for p in plan_of(traced).layers])[:-1])
        for layer, part, tap in zip(plan_of(traced).layers, layers, run.taps, strict=True):
            np.testing.assert_array_equal(part[layer.outputs], tap[vector])


def plan_of(traced):
    network = random_network(np.random.default_rng(0), shape=(20, 14, 6), activation_width=8)
    return plan(network, DEVICE)


def test_save_file(traced):
    path, begin, _, _ = traced
    known = Trace(path).codes
    lines = path.with_suffix(".gtkw").read_text().splitlines()
    assert f'[dumpfile] "{path}"' in lines
    assert f"[timestart] {10 * begin}" in lines
    shown = [line for line in lines if line.startswith("TOP.")]
    assert not [name for name in shown if name not in known]
    assert len(shown) == len(set(shown)) == sum(len(signals) for _, signals in groups(DEVICE))
    for name in "load", "i", "o", "counters", "sequencer", "scan 0":
        assert f"-{name}" in lines
    for n in range(ELEMENTS):
        for name in "queue", "fetch", "decode", "accumulate":
            assert f"-element {n}: {name}" in lines
    # 420 is GTKWave's flag for signed decimals.
    flags = {}
    for line in lines:
        if line.startswith("@"):
            flag = line
        flags[line] = flag if line.startswith("TOP.") else None
    for name in "tap[1][7:0]", "engine.element_0.accumulate.total[35:0]":
        assert flags[f"TOP.harness.prunus.{name}"] == "@420"


@pytest.mark.parametrize("preset", PRESETS)
def test_groups_of_presets(preset):
    """Signals of no bits are left out, and no more elements are shown than there are."""
    shown = dict(groups(PRESETS[preset]))
    elements = min(ELEMENTS, PRESETS[preset].elements)
    assert sum(name.startswith("element") for name in shown) == 4 * elements
    assert all(width > 0 for signals in shown.values() for _, width, _ in signals)


def test_nowhere_to_write():
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '/nowhere/x\.vcd'$"):
        CompiledModel(DEVICE, waves=Path("/nowhere/x.vcd"))


def run_traced(path, inputs=1):
    network = random_network(np.random.default_rng(0), shape=(20, 14, 6), activation_width=8)
    model = CompiledModel(DEVICE, waves=path)
    with model:
        model.load(plan(network, DEVICE))
        yield
        model.run(np.ones((inputs, 20), int))
        yield


def test_disk_full(tmp_path):
    """In the middle of a run, and when the last of the trace is written."""
    for limit in 100_000, 0:
        steps = run_traced(tmp_path / "x.vcd")
        next(steps)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not limit:
            next(steps)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(OSError, match=r"File too large: '.*x\.vcd'$"):
                list(steps)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kept"), [(KeyboardInterrupt, False), (MismatchError, True), (DeviceError, True)]
)
def test_only_what_the_hardware_does_wrong_leaves_a_trace(tmp_path, error, kept):
    steps = run_traced(tmp_path / "x.vcd")
    next(steps)
    next(steps)
    with pytest.raises(error):
        steps.throw(error)
    assert {path.name for path in tmp_path.iterdir()} == ({"x.vcd", "x.gtkw"} if kept else set())
