"""The nine layers of EIE on the RTL: cycles, balance, and bits of memory, beside EIE's own.

    python -m bench.eie_layers [--pes 64] [--set uniform|log-normal|fitted|balanced]
        [--vectors 16] [--layers Alex-6,...] [--json] [--plot FILE] [--fit]

Sizes, densities and times are those of tables III and IV of Han et al., "EIE: Efficient Inference
Engine on Compressed Deep Neural Network", ISCA 2016. The weights themselves are not published, so
they are random: each is there with the same chance, or, in the set *log-normal*, with one that is
in proportion to a scale of its row and one of its column. In the set *balanced* each element has as
many in a column as any other, at random places, as :func:`golden.compress.prune.keep_balanced`
leaves them. Activations are not zero with the chance of table III.

Table III's densities, with weights that are equally likely everywhere, do not give table IV's
times; each report ends with reasons. So in the set *fitted* two numbers of each layer,
:data:`FITTED`, are chosen such that EIE's own recurrence takes table IV's times:

- the share of activations that are not zero or, where all are there, that of weights, such that
  EIE's entries in active columns, padding included, over 64 elements are the *theoretical* time;
- how much rows differ, by a log-normal scale, such that :func:`eie_cycles` are the *actual* time.

All else is as it is in the set uniform: sizes and the other density are table III's, columns are
alike, places, values and activations are random. Nothing of the engine here goes into the fit.
``--fit`` finds the numbers again, and runs no RTL. They are for the default seed and vectors; each
report says how near to table IV its own data come. Seeds 1 and 2 give theoretical times within 2 %
of it, and actual ones within 6.5 %.

Each vector runs on the compiled RTL, alone; then all of them run back to back. Each bit of each
answer has to be the golden model's, and each counter what :func:`mapping.cycles.predict` and
:func:`mapping.cycles.predict_stream` say; else the bench ends with an error.

A row of the table, and of the list ``layers`` of the JSON, has

``ideal_cycles``
    Products of two non-zeros, over elements: no padding, no wait, perfect balance.
``cycles``
    What the RTL takes, from the start of the layer until all of its products are added up. The
    next one can start earlier, and is scanned while sums are drained.
``ratio``
    The first over the second, mean over the vectors; 1 is perfect.
``stream_cycles``, ``stream_ratio``
    The same for vectors back to back: cycles of all of them over their number, and the ratio of the
    sums.
``eie_cycles``
    What EIE takes on the same matrix and vectors, by :func:`eie_cycles`.
``eie_theoretical_cycles``
    Its entries in active columns, padding included, over elements.
``eie_published_cycles``, ``eie_published_theoretical_cycles``
    Table IV's times at 800 MHz, if there are 64 elements. They are for other weights and vectors.
``eie_ratio``, ``speedup``
    ``ideal_cycles`` and ``cycles``, compared with EIE's cycles: mean over the vectors of the ideal
    ones over EIE's, and of EIE's over those here.
``bits_per_nonzero``
    All that the elements' memories hold for the layer (entries, escapes, counts) over its weights.
``image_bits_per_nonzero``, ``entropy``
    All of the image over its weights, and the entropy of a code and of the zeros between two of
    them, as they occur.
``padding``, ``starved``
    Share of the elements' cycles in which they took escapes only, and nothing.
"""

import argparse
import dataclasses
import functools
import json
import math
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.errors import FitError, MismatchError, PrunusError
from golden.image import FullyConnected, Network, to_bytes
from golden.network import run as golden_run
from hdl.configuration import Configuration
from mapping import Plan, plan
from mapping.cycles import Prediction, predict, predict_stream, useful
from sim.compiled import CompiledModel

CODE_WIDTH = 4
QUEUE_DEPTH = 64
MEGAHERTZ = 800
# Coefficients of variation of the scales of rows and of columns.
SETS = {"uniform": (0.0, 0.0), "log-normal": (0.6, 0.4)}
FITTED_SET, BALANCED = "fitted", "balanced"
# Rows that an element can have. A matrix with more is run in slices.
ROW_DEPTH = 512
# Depths of EIE's queue whose efficiencies figure 8 shows, and those that ours can have; numbers of
# elements of figure 13, from where on the largest layer fits.
EIE_DEPTHS, DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256), (8, 16, 32, 64, 128, 256)
EIE_DEPTH, EIE_ELEMENTS = 8, 64
ELEMENTS = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Benchmark:
    """A layer of EIE's table III, with its times at 64 elements of table IV in microseconds."""

    name: str
    inputs: int
    outputs: int
    density: float
    """Share of the weights that are not zero."""
    activity: float
    """Share of the activations that are not zero."""
    theoretical: float
    actual: float
    ways: int = 1
    """Of the device. Several where all activations are there and columns are thin."""
    spread: float = 0.0
    """Coefficient of variation of the scales of rows in the set *fitted*."""

    @property
    def free(self) -> str:
        """Which density the set *fitted* does not take from table III."""
        return "activity" if self.activity < 1 else "density"


BENCHMARKS = {
    one.name: one
    for one in (
        Benchmark("Alex-6", 9216, 4096, 0.09, 0.351, 28.1, 30.3),
        Benchmark("Alex-7", 4096, 4096, 0.09, 0.353, 11.7, 12.2),
        Benchmark("Alex-8", 4096, 1000, 0.25, 0.375, 8.9, 9.9),
        Benchmark("VGG-6", 25088, 4096, 0.04, 0.183, 28.1, 34.4),
        Benchmark("VGG-7", 4096, 4096, 0.04, 0.375, 7.9, 8.7),
        Benchmark("VGG-8", 4096, 1000, 0.23, 0.411, 7.3, 8.4),
        Benchmark("NT-We", 4096, 600, 0.10, 1.0, 5.2, 8.0, ways=4),
        Benchmark("NT-Wd", 600, 8791, 0.11, 1.0, 13.0, 13.9),
        Benchmark("NT-LSTM", 1201, 2400, 0.10, 1.0, 6.5, 7.5, ways=4),
    )
}

# Found by --fit: the free density of a layer, and the coefficient of variation of its rows' scales.
FITTED = {
    "Alex-6": (0.3510, 0.416),
    "Alex-7": (0.3361, 0.110),
    "Alex-8": (0.4437, 0.085),
    "VGG-6": (0.2229, 0.675),
    "VGG-7": (0.3856, 0.231),
    "VGG-8": (0.3967, 0.150),
    "NT-We": (0.1083, 0.157),
    "NT-Wd": (0.1084, 0.415),
    "NT-LSTM": (0.1048, 0.463),
}


# Share of a published time by which a fitted one may be off.
_NEAR = 0.01


def fitted(benchmark: Benchmark, density: float, spread: float) -> Benchmark:
    """A layer with another free density, and rows that differ."""
    free: dict[str, Any] = {benchmark.free: density}
    return dataclasses.replace(benchmark, spread=spread, **free)


def benchmark_of(name: str, kind: str) -> Benchmark:
    """A layer as it is in a set."""
    benchmark = BENCHMARKS[name]
    return fitted(benchmark, *FITTED[name]) if kind == FITTED_SET else benchmark


def fit(benchmark: Benchmark, *, vectors: int, seed: int) -> tuple[Benchmark, float, float]:
    """Find the free density and the spread with which EIE takes table IV's times, by bisection.

    Returns
    -------
    Benchmark
        With that density, of four decimals, and that spread, of three.
    float, float
        The theoretical and the actual time with them, in microseconds, mean over the vectors.

    Raises
    ------
    FitError
        If there are no such numbers.
    """

    # The same weights serve for any share of activations.
    @functools.lru_cache(maxsize=1)
    def entries(density: float, spread: float) -> np.ndarray:
        one = dataclasses.replace(benchmark, density=density, spread=spread)
        (layer,) = make_network(one, FITTED_SET, seed).layers
        return eie_entries(layer, EIE_ELEMENTS)

    def data(density: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
        one = fitted(benchmark, density, spread)
        return entries(one.density, spread), make_inputs(one, vectors, seed) != 0

    def theoretical(density: float, spread: float) -> float:
        return float(eie_theoretical_cycles(*data(density, spread)).mean()) / MEGAHERTZ

    def actual(density: float, spread: float) -> float:
        return float(eie_cycles(*data(density, spread), EIE_DEPTH - 1).mean()) / MEGAHERTZ

    def density_for(spread: float) -> float:
        published = getattr(benchmark, benchmark.free)
        bounds = published / 2, min(1.0, 2 * published)
        return bisect(lambda density: theoretical(density, spread), benchmark.theoretical, *bounds)

    spread = bisect(
        lambda spread: actual(density_for(spread), spread), benchmark.actual, 0.0, 1.0, 1e-3
    )
    spread = round(spread, 3)
    density = round(density_for(spread), 4)
    times = theoretical(density, spread), actual(density, spread)
    for name, found in zip(("theoretical", "actual"), times, strict=True):
        published = getattr(benchmark, name)
        if abs(found - published) > _NEAR * published:
            raise FitError(
                f"{benchmark.name}: with no density and spread EIE takes {published} us "
                f"({name}); the nearest is {found:.2f}"
            )
    return fitted(benchmark, density, spread), *times


def bisect(
    function: Callable[[float], float],
    target: float,
    low: float,
    high: float,
    tolerance: float = 1e-4,
) -> float:
    """Where an ascending function passes ``target``; the nearer end if it does not in between."""
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


def make_network(benchmark: Benchmark, kind: str, seed: int, elements: int = 64) -> Network:
    """Random weights for a layer.

    ``kind`` is a key of :data:`SETS`, :data:`FITTED_SET`, or :data:`BALANCED`, which is for so many
    ``elements``.
    """
    rng = np.random.default_rng([seed, *benchmark.name.encode()])
    rows, columns = benchmark.outputs, benchmark.inputs
    if kind == BALANCED:
        parts = _balanced(rng, benchmark, elements)
    else:
        variations = (benchmark.spread, 0.0) if kind == FITTED_SET else SETS[kind]
        parts = _by_chance(rng, benchmark, variations)
    found, counts = [], []
    for there in parts:
        found.append(np.nonzero(there)[1].astype(np.int32))
        counts.append(there.sum(axis=1))
    starts = np.zeros(columns + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=starts[1:])

    # Distinct weights, and a shift that brings sums back to the size of activations.
    codebook = 32 * np.array([0, *range(-7, 0), *range(1, 9)], np.int16)
    gain = 150 * math.sqrt(max(1, columns * benchmark.density * benchmark.activity))
    layer = FullyConnected(
        name=benchmark.name,
        codes=rng.integers(1, 1 << CODE_WIDTH, int(starts[-1]), dtype=np.uint8),
        rows=np.concatenate(found),
        column_starts=starts,
        codebook=codebook,
        code_width=CODE_WIDTH,
        weight_radix=round(math.log2(gain)),
        bias=rng.integers(-(1 << 16), 1 << 16, rows, dtype=np.int32),
        output_radix=8,
        activation="relu",
    )
    return Network(benchmark.name, (layer,), activation_width=16, input_radix=8)


def _by_chance(
    rng: np.random.Generator, benchmark: Benchmark, variations: tuple[float, float]
) -> Iterator[np.ndarray]:
    """Where weights are: bool ``(columns, rows)``, for some columns at a time."""
    row_scale, column_scale = (
        _scales(rng, count, variation)
        for count, variation in zip((benchmark.outputs, benchmark.inputs), variations, strict=True)
    )
    chances = _chances(row_scale, column_scale, benchmark.density)
    for first in range(0, benchmark.inputs, 1024):
        chance = chances * column_scale[first : first + 1024, None] * row_scale
        yield rng.random(chance.shape, dtype=np.float32) < chance


def _balanced(
    rng: np.random.Generator, benchmark: Benchmark, elements: int
) -> Iterator[np.ndarray]:
    """As :func:`_by_chance`, with equally many in each column for all ``row % elements``."""
    rows, columns = benchmark.outputs, benchmark.inputs
    least, more = divmod(round(benchmark.density * rows * columns / elements), columns)
    counts = np.full(columns, least)
    counts[rng.permutation(columns)[:more]] += 1
    room = -(-rows // elements)
    for first in range(0, columns, 1024):
        some = counts[first : first + 1024, None, None]
        # The rows with the least keys of each element have the weights. Rows that it lacks, and
        # then the end, come after all others.
        keys = np.full((len(some), room + 1, elements), 2.0)
        keys[:, -1] = 3.0
        flat = keys.reshape(len(some), -1)
        flat[:, :rows] = rng.random((len(some), rows))
        bounds = np.take_along_axis(np.sort(keys, axis=1), some, axis=1)
        yield (keys < bounds).reshape(len(some), -1)[:, :rows]


def _scales(rng: np.random.Generator, count: int, variation: float) -> np.ndarray:
    """Log-normal numbers of the mean 1, float32."""
    sigma = math.sqrt(math.log1p(variation**2))
    return rng.lognormal(-(sigma**2) / 2, sigma, count).astype(np.float32)


def _chances(row_scale: np.ndarray, column_scale: np.ndarray, density: float) -> np.float32:
    """What to multiply scales with so that chances, none above 1, have the mean ``density``."""
    # Every n-th of the sorted scales stands for all of them.
    rows, columns = (np.sort(one)[:: max(1, len(one) // 512)] for one in (row_scale, column_scale))
    products = np.outer(rows, columns)
    factor = density
    for _ in range(50):
        factor *= density / np.minimum(1, factor * products).mean()
    return np.float32(factor)


def make_inputs(benchmark: Benchmark, vectors: int, seed: int) -> np.ndarray:
    """Activations, int64 ``(vectors, inputs)``."""
    rng = np.random.default_rng([seed, 1, *benchmark.name.encode()])
    shape = vectors, benchmark.inputs
    values = rng.integers(1, 1 << 12, shape) * rng.choice([-1, 1], shape)
    return values * (rng.random(shape) < benchmark.activity)


def slices(network: Network, elements: int) -> list[Network]:
    """The layer in as many parts, by rows, as it takes for them to fit the elements."""
    (layer,) = network.layers
    count = -(-layer.outputs // (elements * ROW_DEPTH))
    if count == 1:
        return [network]
    parts = []
    for one in np.array_split(np.arange(layer.outputs), count):
        inside = (layer.rows >= one[0]) & (layer.rows <= one[-1])
        before = np.append(0, np.cumsum(inside))
        part = dataclasses.replace(
            layer,
            codes=layer.codes[inside],
            rows=layer.rows[inside] - np.int32(one[0]),
            column_starts=before[layer.column_starts],
            bias=layer.bias[one],
        )
        parts.append(dataclasses.replace(network, layers=(part,)))
    return parts


def configuration(benchmark: Benchmark, elements: int) -> Configuration:
    """A device for a layer, with counts of any width."""
    scan_width = min(4, elements)
    ways = min(benchmark.ways, elements // scan_width)
    rows = -(-benchmark.outputs * ways // elements)
    # 64 elements of EIE have as many entries.
    weight_depth = min(1 << 18, (1 << 23) // elements)
    weights = benchmark.outputs * benchmark.inputs * benchmark.density / elements

    def bits(delta_width: int) -> float:
        """For a weight, with its share of the escapes; more than any if they do not fit."""
        too_far = (1 - benchmark.density) ** (1 << delta_width) if rows > 1 << delta_width else 0.0
        fits = weights * (1 + too_far) < 0.99 * weight_depth
        return (CODE_WIDTH + delta_width) * (1 + too_far) if fits else math.inf

    # From here on no weight takes more than one escape.
    least = max(1, -(-(rows - 1).bit_length() // 2))
    delta_width = min(range(least, least + 6), key=bits)
    return Configuration(
        elements=elements,
        scan_width=scan_width,
        ways=ways,
        accumulator_width=40,
        code_width=CODE_WIDTH,
        entry_width=CODE_WIDTH + delta_width,
        count_width=10,
        queue_depth=QUEUE_DEPTH,
        weight_depth=weight_depth,
        column_depth=1 << 15,
        row_depth=ROW_DEPTH,
        codebook_depth=1 << CODE_WIDTH,
        bias_depth=1 << 14,
        activation_depth=1 << 15,
        layer_depth=2,
    )


def eie_cycles(entries: np.ndarray, nonzero: np.ndarray, depth: int) -> np.ndarray:
    """Cycles that EIE takes for a layer.

    Element ``row % elements`` owns a row. A gap of 16 or more of its rows takes padding entries,
    one for each 16. Activations that are not zero are broadcast in their order, one a cycle; a
    group with one activation of each element, all zero, takes a cycle. Element ``i`` starts with
    the broadcast ``j`` the cycle after it, or after having finished the one before, and takes a
    cycle for each entry, and one if there is none. No broadcast is made as long as any element
    has ``depth`` others waiting. The pipeline adds 6 cycles.

    This recurrence gives, to the cycle, what the simulator of EIE's authors does with their own
    data of Alex-8.

    Parameters
    ----------
    entries : ndarray of int64, ``(elements, inputs)``
        As of :func:`eie_entries`.
    nonzero : ndarray of bool, ``(vectors, inputs)``
    depth : int
        Broadcasts that wait in front of an element. The authors' queue of 8 has room for 7.

    Returns
    -------
    ndarray of int64, ``(vectors,)``
    """
    elements = len(entries)
    cycles = []
    for vector in nonzero:
        columns = np.flatnonzero(vector)
        # Groups of zeros in front of each broadcast.
        padded = np.pad(vector, (0, -len(vector) % elements))
        empty = ~padded.reshape(-1, elements).any(axis=1)
        skipped = np.diff(np.cumsum(empty)[columns // elements], prepend=0)
        work = np.maximum(entries[:, columns].T, 1)
        told, finished = 0, np.zeros(elements, np.int64)
        # When the slowest element started with each of the last broadcasts.
        started = [-1] * depth
        for step, (delay, one) in enumerate(zip(skipped.tolist(), work, strict=True)):
            told = max(told + 1 + delay, started[step % depth] + 1)
            start = np.maximum(told + 1, finished)
            started[step % depth] = int(start.max())
            finished = start + one
        cycles.append(int(finished.max()) + 6)
    return np.array(cycles)


def eie_theoretical_cycles(entries: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    """Cycles with which the paper compares actual ones, float64 ``(vectors,)``.

    They count padding as work, and share all work out evenly. Parameters are those of
    :func:`eie_cycles`.
    """
    return nonzero @ entries.sum(axis=0) / len(entries)


def eie_entries(layer: FullyConnected, elements: int) -> np.ndarray:
    """Entries of EIE's elements in each column, padding included, int64 ``(elements, inputs)``."""
    columns = layer.columns.astype(np.int64)
    local, element = np.divmod(layer.rows.astype(np.int64), elements)
    depth = int(local.max(initial=0)) + 1
    places = np.sort((element * layer.inputs + columns) * depth + local)
    segment, local = np.divmod(places, depth)
    before = np.full(len(local), -1)
    follows = segment[1:] == segment[:-1]
    before[1:][follows] = local[:-1][follows]
    padded = 1 + (local - before - 1) // 16
    counts = np.bincount(segment, padded, elements * layer.inputs)
    return counts.astype(np.int64).reshape(elements, -1)


def stored_bits(laid: Plan) -> int:
    """Bits that the elements' memories hold of a network of one layer."""
    (layer,) = laid.layers
    c = laid.configuration
    totals = layer.entries.totals
    # Two entries are a word.
    entries = int((totals + totals % 2).sum()) * c.entry_width
    counts = sum(layer.team_columns) * (c.elements // layer.teams) * c.count_width
    return entries + counts


def entropy(layer: FullyConnected) -> float:
    """Bits that a weight's code and the zeros in front of it have, each by how often it occurs."""
    positions = layer.columns.astype(np.int64) * layer.outputs + layer.rows
    bits = 0.0
    for symbols in layer.codes, np.diff(positions, prepend=-1):
        _, counts = np.unique(symbols, return_counts=True)
        shares = counts / len(symbols)
        bits -= float((shares * np.log2(shares)).sum())
    return bits


def on_hardware(
    model: CompiledModel, laid: Plan, inputs: np.ndarray
) -> tuple[Prediction, Prediction]:
    """Run vectors one at a time, then back to back; what the RTL counted, which is what was
    predicted.

    Raises
    ------
    MismatchError
        If a bit or a counter is another one.
    """
    answers = golden_run(laid.network, torch.from_numpy(inputs))[-1][1].numpy()
    alone, stream = predict(laid, [inputs]), predict_stream(laid, [inputs])
    model.load(laid)
    for vector in range(len(inputs)):
        where = f"{laid.network.name}: vector {vector}"
        _check(where, model, inputs[[vector]], answers[[vector]], _sums(alone, [vector]))
    where = f"{laid.network.name}: all vectors, back to back"
    _check(where, model, inputs, answers, _sums(stream, slice(None)))
    return alone, stream


def _sums(prediction: Prediction, vectors: list[int] | slice) -> dict[str, np.ndarray]:
    """What a report says of some of the vectors, altogether."""
    return {name: array[vectors].sum(axis=(0, 1)) for name, array in vars(prediction).items()}


def _check(
    where: str,
    model: CompiledModel,
    inputs: np.ndarray,
    answers: np.ndarray,
    predicted: dict[str, np.ndarray],
) -> None:
    """Run vectors, and compare answers and the report."""
    if not np.array_equal(model.run(inputs).outputs, answers):
        raise MismatchError(f"{where}: the RTL gives another result")
    report = model.report()
    if report.cycles != [predicted["cycles"]]:
        raise MismatchError(
            f"{where}: the RTL takes {report.cycles[0]} cycles, not {predicted['cycles']}"
        )
    for counter, counted in report.counters.items():
        if not np.array_equal(counted, predicted[counter]):
            raise MismatchError(f"{where}: the RTL's {counter} differs")


def measure(
    names: list[str],
    *,
    elements: int,
    kind: str,
    vectors: int,
    seed: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Everything that is measured on the RTL, fit for JSON."""
    begin = time.perf_counter()
    # Layers that agree in all but the width of a count share a device.
    groups: dict[Configuration, list[Benchmark]] = {}
    for benchmark in (benchmark_of(name, kind) for name in names):
        groups.setdefault(configuration(benchmark, elements), []).append(benchmark)
    rows: dict[str, dict[str, Any]] = {}
    devices = []
    for device, members in groups.items():
        networks, planned = {}, {}
        for benchmark in members:
            log(f"{benchmark.name}: weights, and rows to elements")
            networks[benchmark] = make_network(benchmark, kind, seed, elements)
            planned[benchmark] = [
                plan(part, device, activity=[benchmark.activity])
                for part in slices(networks[benchmark], elements)
            ]
        most = max(int(laid.layers[0].entries.counts.max()) for laid in sum(planned.values(), []))
        device = dataclasses.replace(device, count_width=max(2, most.bit_length()))
        devices.append({"layers": [one.name for one in members], **dataclasses.asdict(device)})
        log(f"a device with counts of {device.count_width} bits")
        with CompiledModel(device) as model:
            for benchmark, laid in planned.items():
                # Where weights lie does not depend on the width of a count.
                laid = [dataclasses.replace(one, configuration=device) for one in laid]
                log(f"{benchmark.name}: {vectors} vectors on the RTL")
                network = networks[benchmark]
                rows[benchmark.name] = _row(benchmark, network, model, laid, vectors, seed)
    layers = [rows[name] for name in names]
    return {
        "pes": elements,
        "set": kind,
        "vectors": vectors,
        "seed": seed,
        "equal": True,
        "geomean_ratio": _geometric_mean(row["ratio"] for row in layers),
        "least_ratio": min(row["ratio"] for row in layers),
        "least_stream_ratio": min(row["stream_ratio"] for row in layers),
        "geomean_eie_ratio": _geometric_mean(row["eie_ratio"] for row in layers),
        "geomean_speedup": _geometric_mean(row["speedup"] for row in layers),
        "seconds": time.perf_counter() - begin,
        "devices": devices,
        "layers": layers,
    }


def _geometric_mean(numbers: Iterable[float]) -> float:
    return math.exp(np.mean([math.log(number) for number in numbers]))


def _row(
    benchmark: Benchmark,
    network: Network,
    model: CompiledModel,
    laid: list[Plan],
    vectors: int,
    seed: int,
) -> dict[str, Any]:
    elements = model.configuration.elements
    inputs = make_inputs(benchmark, vectors, seed)
    counted, streams = zip(*(on_hardware(model, one, inputs) for one in laid), strict=True)
    cycles = sum(one.cycles[:, 0] for one in counted)
    stream_cycles = sum(int(one.cycles.sum()) for one in streams)
    ideal = sum(useful(one, [inputs])[:, 0] for one in laid) / elements
    (layer,) = network.layers
    needed = eie_entries(layer, elements)
    eie = eie_cycles(needed, inputs != 0, EIE_DEPTH - 1)
    comparable = elements == EIE_ELEMENTS
    nonzeros = layer.nonzeros
    entries = sum(len(one.layers[0].entries.values) for one in laid)

    def share(counter: str) -> float:
        """Of all cycles of all elements."""
        spent = sum(int(getattr(one, counter).sum()) for one in counted)
        return spent / (elements * int(cycles.sum()))

    return {
        "name": benchmark.name,
        "inputs": benchmark.inputs,
        "outputs": benchmark.outputs,
        "density": nonzeros / (benchmark.inputs * benchmark.outputs),
        "activity": float((inputs != 0).mean()),
        "spread": benchmark.spread,
        "nonzeros": nonzeros,
        "pes": elements,
        "split": laid[0].layers[0].split,
        "slices": len(laid),
        "ideal_cycles": float(ideal.mean()),
        "cycles": float(cycles.mean()),
        "cycles_by_vector": cycles.tolist(),
        "ratio": float((ideal / cycles).mean()),
        "least_ratio": float((ideal / cycles).min()),
        "stream_cycles": stream_cycles / vectors,
        "stream_ratio": float(ideal.sum() / stream_cycles),
        "eie_cycles": float(eie.mean()),
        "eie_theoretical_cycles": float(eie_theoretical_cycles(needed, inputs != 0).mean()),
        "eie_published_cycles": round(MEGAHERTZ * benchmark.actual) if comparable else None,
        "eie_published_theoretical_cycles": (
            round(MEGAHERTZ * benchmark.theoretical) if comparable else None
        ),
        "eie_ratio": float((ideal / eie).mean()),
        "speedup": float((eie / cycles).mean()),
        "bits_per_nonzero": sum(map(stored_bits, laid)) / nonzeros,
        "image_bits_per_nonzero": 8 * len(to_bytes(network)) / nonzeros,
        "entropy": entropy(layer),
        "escapes": entries / nonzeros - 1,
        "padding": share("padding"),
        "starved": share("starved"),
    }


def table(document: dict[str, Any]) -> str:
    """What was measured, to read."""
    head = f"""\
{document["pes"]} elements, {document["set"]} weights, mean of {document["vectors"]} vectors, \
seed {document["seed"]}; {document["seconds"]:.0f} s

         |        EIE, cycles          |        here, on the RTL         | back to back  |  \
bits per non-zero  |
layer    | published same data   ratio |  ideal  cycles   ratio EIE/here | cycles  ratio |   RTL  \
image entropy | padding starved"""
    rows = []
    for row in document["layers"]:
        published = row["eie_published_cycles"] or "-"
        rows.append(
            f"{row['name']:9}|{published:>10}{row['eie_cycles']:10.0f}{row['eie_ratio']:8.3f} |"
            f"{row['ideal_cycles']:7.0f}{row['cycles']:8.0f}{row['ratio']:8.4f}"
            f"{row['speedup']:9.3f} |{row['stream_cycles']:7.0f}{row['stream_ratio']:7.4f} |"
            f"{row['bits_per_nonzero']:6.2f}{row['image_bits_per_nonzero']:7.2f}"
            f"{row['entropy']:8.2f} |{100 * row['padding']:6.2f} %{100 * row['starved']:6.2f} %"
        )
    speedups = [row["speedup"] for row in document["layers"]]
    foot = f"""
ratio, ideal cycles over cycles: geometric mean {document["geomean_ratio"]:.4f}, least \
{document["least_ratio"]:.4f}; back to back, least {document["least_stream_ratio"]:.4f}
the same for EIE, geometric mean {document["geomean_eie_ratio"]:.4f}
EIE's cycles over those here: geometric mean {document["geomean_speedup"]:.4f}, least \
{min(speedups):.4f}
every bit of every answer equal to the golden model's, every counter equal to the prediction
"""
    parts = [head, *rows, foot]
    if document["set"] == FITTED_SET and document["pes"] == EIE_ELEMENTS:
        parts.append(
            nearness(
                (
                    benchmark_of(row["name"], FITTED_SET),
                    row["eie_theoretical_cycles"] / MEGAHERTZ,
                    row["eie_cycles"] / MEGAHERTZ,
                )
                for row in document["layers"]
            )
        )
    return "\n".join([*parts, disagreements()])


def _fits(layers: Iterable[tuple[Benchmark, float, float]]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "density": one.density,
            "activity": one.activity,
            "spread": one.spread,
            "eie_theoretical_us": theoretical,
            "eie_actual_us": actual,
        }
        for one, theoretical, actual in layers
    ]


def nearness(layers: Iterable[tuple[Benchmark, float, float]]) -> str:
    """How near to table IV EIE's recurrence comes on fitted layers, to read.

    ``layers`` are those, each with its theoretical and actual time on its data, in microseconds.
    """
    lines = [
        "Fitted, so that EIE's recurrence at 800 MHz takes table IV's times: the share of",
        "activations, or of weights, that is not zero, and the coefficient of variation of the",
        "scales of rows. All else is table III's or random. The engine here has no part in it.",
        "",
        "         |      not zero, %       |  rows  |  theoretical, us   |     actual, us",
        "layer    |        table III fitted |  vary  | table IV same data | table IV same data",
    ]
    for one, theoretical, actual in layers:
        of = {"activity": "activations", "density": "weights"}[one.free]
        published = getattr(BENCHMARKS[one.name], one.free)
        lines.append(
            f"{one.name:9}| {of:11}{100 * published:6.1f}{100 * getattr(one, one.free):7.2f} |"
            f"{one.spread:7.3f} |{one.theoretical:9.1f}{theoretical:10.2f} |"
            f"{one.actual:9.1f}{actual:10.2f}"
        )
    return "\n".join([*lines, ""])


def disagreements() -> str:
    """Where EIE's paper disagrees with itself, and how that bears on the comparison."""
    layers = BENCHMARKS.values()
    excess = [one.actual / one.theoretical for one in layers]
    most = max(layers, key=lambda one: one.actual / one.theoretical)
    alex, vgg = BENCHMARKS["Alex-8"], BENCHMARKS["VGG-6"]

    def strict(one: Benchmark) -> float:
        products = one.inputs * one.outputs * one.density * one.activity
        return products / 64 / MEGAHERTZ

    mean = 100 * (math.exp(np.mean(np.log(excess))) - 1)
    worst = 100 * (most.actual / most.theoretical - 1)
    weights = vgg.inputs * vgg.outputs * vgg.density / 64
    text = f"""
        Where the paper disagrees with itself. The text has actual times 10 % above theoretical
        ones; table IV has {mean:.0f} % in geometric mean, {worst:.0f} % for {most.name}.
        "Theoretical" counts padding as work: the products of table III alone would take
        {strict(vgg):.1f} us for VGG-6, not {vgg.theoretical}. Ideal cycles here never count it.
        Times go with one input for each layer, not with the mean activity of table III: with
        that, Alex-8, which needs no padding, would take {strict(alex):.1f} us at best, not
        {alex.theoretical}; the input that the authors published has 42.9 % of its activations,
        and gives their figure. For VGG-6 the recurrence, on uniform weights of table III's
        densities, gives a quarter less than table IV: the real ones must be far from uniform.
        Pointers of 16 bits reach 65,536 entries, half of an element's memory; VGG-6 has
        {weights:,.0f} weights in each element, and half as many entries again for padding. So
        published cycles are an orientation; the column of the same data is the comparison."""
    return textwrap.fill(" ".join(text.split()), 96)


def sweeps(
    names: list[str], *, elements: int, kind: str, vectors: int, seed: int
) -> Iterator[tuple[str, str, str, int, float]]:
    """Ideal over actual cycles, by the models of cycles, over queue depth and over elements.

    Yields
    ------
    tuple
        ``"depth"`` or ``"elements"``, ``"eie"`` or ``"here"``, layer, the number, and the ratio.
    """
    for name in names:
        benchmark = benchmark_of(name, kind)
        network = make_network(benchmark, kind, seed, elements)
        inputs = make_inputs(benchmark, vectors, seed)

        def here(laid: list[Plan], depth: int = QUEUE_DEPTH, inputs: np.ndarray = inputs) -> float:
            cycles, products = 0, 0
            for one in laid:
                device = dataclasses.replace(one.configuration, queue_depth=depth)
                one = dataclasses.replace(one, configuration=device)
                cycles += predict(one, [inputs]).cycles[:, 0]
                products += useful(one, [inputs])[:, 0]
            return float((products / one.configuration.elements / cycles).mean())

        def eie(
            count: int,
            depth: int = EIE_DEPTH - 1,
            network: Network = network,
            inputs: np.ndarray = inputs,
        ) -> float:
            (layer,) = network.layers
            products = (inputs != 0) @ np.diff(layer.column_starts)
            cycles = eie_cycles(eie_entries(layer, count), inputs != 0, depth)
            return float((products / count / cycles).mean())

        for depth in EIE_DEPTHS:
            yield "depth", "eie", name, depth, eie(elements, depth)
        for count in sorted({elements, *ELEMENTS}):
            device = configuration(benchmark, count)
            parts = slices(network, count)
            laid = [plan(part, device, activity=[benchmark.activity]) for part in parts]
            if count == elements:
                for depth in DEPTHS:
                    yield "depth", "here", name, depth, here(laid, depth)
            if count in ELEMENTS:
                yield "elements", "here", name, count, here(laid)
                yield "elements", "eie", name, count, eie(count)


def draw(
    points: list[tuple[str, str, str, int, float]], *, elements: int, kind: str, path: Path
) -> None:
    """Draw the sweeps as figures 8 and 13 of the paper are drawn, ours above EIE's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharey=True, sharex="col")
    sweeps = {
        "depth": ("places in each queue", f"{elements} elements"),
        "elements": ("elements", "queues of {}"),
    }
    machines = {"here": ("Prunus", QUEUE_DEPTH), "eie": ("EIE, same data", EIE_DEPTH)}
    names = list(dict.fromkeys(point[2] for point in points))
    for line, (machine, (title, depth)) in zip(axes, machines.items(), strict=True):
        for axis, (sweep, (_, fixed)) in zip(line, sweeps.items(), strict=True):
            # Lines can lie on each other: markers of falling sizes stay in sight.
            for n, name in enumerate(names):
                chosen = [point[3:] for point in points if point[:3] == (sweep, machine, name)]
                style = {"marker": "osD^v<>ph"[n], "markersize": 6.5 - n / 2}
                axis.plot(*zip(*chosen, strict=True), **style)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_ylim(0, 1.03)
            axis.grid(alpha=0.3)
            axis.set_title(f"{title}, {fixed.format(depth)}")
        line[0].set_ylabel("ideal cycles / cycles")
    for axis, (label, _) in zip(axes[-1], sweeps.values(), strict=True):
        axis.set_xlabel(label)
    figure.suptitle(f"Layers of EIE, {kind} weights")
    figure.legend(axes[0, 0].lines, names, loc="outside lower center", ncols=9, fontsize="small")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.eie_layers", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--pes",
        type=int,
        choices=[1 << n for n in range(9)],
        default=64,
        metavar="PES",
        help="elements, a power of two up to 256 (default: 64)",
    )
    parser.add_argument(
        "--set",
        choices=[*SETS, FITTED_SET, BALANCED],
        default="uniform",
        help="how weights are spread (default: uniform)",
    )
    parser.add_argument(
        "--vectors", type=int, default=16, help="activation vectors, up to 1000 (default: 16)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", default=",".join(BENCHMARKS), help="names, with commas")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--plot", type=Path, metavar="FILE", help="sweep queue depths and elements, and draw that"
    )
    instead.add_argument(
        "--fit", action="store_true", help="find again what the set fitted is made of, and no more"
    )
    options = parser.parse_args()
    names = options.layers.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"--layers must be of {', '.join(BENCHMARKS)}, not {unknown[0]}")
    if not 1 <= options.vectors <= 1000:
        parser.error(f"--vectors must be 1 to 1000, not {options.vectors}")
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, not {options.seed}")
    if options.fit and (options.set, options.pes) != ("uniform", EIE_ELEMENTS):
        parser.error(f"--fit goes with neither --set nor --pes: it is for {EIE_ELEMENTS} elements")
    # It is drawn only after all the runs.
    if options.plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        kinds = FigureCanvasBase.get_supported_filetypes()
        if options.plot.suffix[1:] not in kinds or not options.plot.parent.is_dir():
            parser.error(
                f"--plot must be a file in a folder that exists, one of {', '.join(kinds)}, "
                f"not {options.plot}"
            )

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    torch.set_num_threads(1)
    if options.fit:
        try:
            found = [
                fit(BENCHMARKS[name], vectors=options.vectors, seed=options.seed) for name in names
            ]
        except PrunusError as error:
            sys.exit(f"{error}")
        print(json.dumps(_fits(found), indent=2) if options.json else nearness(found))
        return
    shared = {"elements": options.pes, "kind": options.set, "seed": options.seed}
    try:
        document = measure(names, vectors=options.vectors, log=log, **shared)
    except PrunusError as error:
        sys.exit(f"{error}")
    if options.plot is not None:
        points = []
        for point in sweeps(names, vectors=options.vectors, **shared):
            points.append(point)
            log("{2}: {0} {3}, {1}: {4:.3f}".format(*point))
        draw(points, elements=options.pes, kind=options.set, path=options.plot)
        document["sweeps"] = [
            dict(zip(("sweep", "machine", "name", "at", "ratio"), point, strict=True))
            for point in points
        ]
    print(json.dumps(document, indent=2) if options.json else table(document))


if __name__ == "__main__":
    main()
