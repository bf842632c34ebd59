# amaranth: UnusedElaboratable=no
"""The units that benches simulate, with parameters that make corner cases frequent."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from amaranth.hdl import signed
from amaranth.lib import data, wiring

from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.fixed import Requantise
from hdl.loader import Loader
from hdl.maps.feed import Feed
from hdl.maps.fold import Fold
from hdl.maps.memory import External, OnChip
from hdl.maps.transpose import Transpose
from hdl.maps.walk import Walk
from hdl.multiplier import Multiplier
from hdl.ram import Ram
from hdl.sequencer import Sequencer
from hdl.sparse.accumulate import Accumulate
from hdl.sparse.counts import Counts, Segment
from hdl.sparse.decode import Decode
from hdl.sparse.drain import Drain
from hdl.sparse.element import Element
from hdl.sparse.engine import Engine
from hdl.sparse.fetch import Fetch
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue, VectorQueue
from hdl.winograd.engine import Engine as Winograd
from hdl.winograd.parameters import Parameters
from sim.harness import Equipped
from sim.maps import Chain
from sim.memory import Distant, Outside

__all__ = ["BENCHES", "FAMILIES"]

# Units of a bench that are made of the blocks of an FPGA end with its name here.
FAMILIES = {"ecp5": "ecp5", "ice40": "iCE40"}

# A single element, codes of 8 bits with 1 bit of delta, and long columns.
ONE = Configuration(
    elements=1,
    scan_width=1,
    accumulator_width=44,
    code_width=8,
    count_width=10,
    queue_depth=11,
    weight_depth=2048,
    column_depth=512,
    row_depth=256,
    codebook_depth=768,
    bias_depth=512,
    activation_depth=256,
    layer_depth=3,
    counter_width=32,
)
# Two ways of two blocks to a row each, and short counts.
WIDE = Configuration(
    elements=8,
    scan_width=2,
    ways=2,
    accumulator_width=40,
    count_width=4,
    queue_depth=12,
    weight_depth=256,
    column_depth=128,
    row_depth=16,
    codebook_depth=256,
    bias_depth=128,
    activation_depth=64,
    layer_depth=4,
    counter_width=16,
)
# As many ways as elements, each of which scans single activations.
SPLIT = Configuration(
    elements=4,
    scan_width=1,
    ways=4,
    activation_width=8,
    weight_width=8,
    accumulator_width=24,
    code_width=3,
    entry_width=5,
    count_width=4,
    queue_depth=11,
    weight_depth=128,
    column_depth=64,
    row_depth=16,
    codebook_depth=32,
    bias_depth=64,
    activation_depth=32,
    layer_depth=3,
    counter_width=16,
)
# Nothing is a power of two.
ODD = Configuration(
    elements=3,
    scan_width=3,
    activation_width=8,
    weight_width=9,
    accumulator_width=25,
    code_width=5,
    entry_width=7,
    count_width=5,
    queue_depth=9,
    weight_depth=330,
    column_depth=99,
    row_depth=13,
    codebook_depth=100,
    bias_depth=99,
    activation_depth=39,
    layer_depth=5,
    counter_width=17,
)

# So few rows that most layers are in tiles.
FLAT = replace(WIDE, row_depth=2, activation_depth=96, layer_depth=16, column_depth=512)
# With feature maps, and so few rows that many layers are in tiles; and a unit for convolutions that
# has hardly room for any. The cycles of all stages take longer to clear than the accumulators.
STAGED = replace(
    WIDE,
    row_depth=4,
    weight_depth=1024,
    column_depth=512,
    bias_depth=256,
    layer_depth=8,
    map_depth=512,
    stage_depth=150,
    winograd_tile=2,
    winograd_kernels=3,
    winograd_channels=24,
    winograd_windows=256,
    winograd_depth=1024,
)
# With feature maps in memory outside, and a unit with large tiles.
OUTSIDE = replace(
    ODD,
    weight_depth=512,
    column_depth=510,
    map_depth=300,
    map_reads=4,
    stage_depth=20,
    winograd_tile=4,
    winograd_kernels=2,
    winograd_channels=24,
    winograd_windows=256,
    winograd_depth=1024,
)
# Small tiles, memories that keep bands short, and groups larger than many layers.
SMALL = Parameters(
    tile=2,
    kernels=5,
    drains=2,
    weight_width=7,
    sum_width=24,
    window_depth=1024,
    channel_depth=64,
    kernel_depth=12,
    band_depth=7,
    output_depth=64,
    longest=15,
)
# Codes that are narrower than a bias.
SMALL_CODES = replace(SMALL, code_width=2)
# Large tiles, one drain, codes.
LARGE = Parameters(
    tile=4,
    kernels=2,
    code_width=4,
    sum_width=26,
    window_depth=1024,
    channel_depth=64,
    kernel_depth=8,
    output_depth=128,
    longest=15,
)
# Such as these, with fewer kernels, and layers that can be paired.
LARGE_PAIRS = replace(LARGE, kernels=1, weight_width=7, sum_width=36, pairs=True)
SMALL_PAIRS = replace(SMALL, kernels=3, sum_width=26, pairs=True)
# Activations of 16 bits.
FINE = Parameters(
    tile=2,
    kernels=1,
    activation_width=16,
    weight_width=12,
    sum_width=40,
    window_depth=1024,
    channel_depth=64,
    kernel_depth=8,
    output_depth=256,
    longest=31,
)

_ITEM = data.StructLayout({"number": signed(12), "flag": 1})
_SEGMENT = Segment(64, 3, 8)
_WORD = data.ArrayLayout(signed(5), 3)


class _OnePort(Fetch):
    """With the memory that it has if that is large."""

    ONE_PORT = 0


def _each(name, unit):
    """``unit`` for each of the configurations."""
    configurations = {"one": ONE, "wide": WIDE, "split": SPLIT, "odd": ODD}
    return {f"{name}_{key}": partial(unit, value) for key, value in configurations.items()}


def _chain(source, result):
    """Units for feature maps in a row, with these memories."""
    fold = Fold(scan_width=3, activation_width=8, accumulator_width=18)
    word = fold.o.payload.shape()
    return Chain(fold, source(word), result(word))


def _outside():
    """A device and memory that is slow to answer, and to change between reading and writing."""
    return Equipped(Accelerator(OUTSIDE), latency=7, every=2, turnaround=3)


# For each bench, its units by name. Names differ between benches too.
BENCHES: dict[str, dict[str, Callable[[], wiring.Component]]] = {
    "requantise": {
        "requantise_8": partial(Requantise, width=8, bias_width=5, result_width=4),
        "requantise_24": partial(Requantise, width=24, bias_width=24, result_width=8),
        "requantise_48": partial(Requantise, width=48, bias_width=32, result_width=16),
        "requantise_deep": partial(Requantise, width=24, bias_width=24, result_width=8, deep=True),
    },
    "multiplier": {
        f"multiplier_{size}_{latency}_{family}": partial(
            Multiplier, a_width=widths[0], b_width=widths[1], latency=latency
        )
        for size, widths in (("small", (10, 12)), ("square", (16, 16)), ("large", (18, 17)))
        for latency in (2, 3)
        for family in ("plain", *FAMILIES)
    },
    "ram": {
        f"ram_{width}x{depth}_{family}": partial(Ram, width, depth=depth)
        for width, depth in ((30, 20), (20, 1024), (10, 1025), (8, 4096), (3, 8000), (2, 20000))
        for family in ("plain", *FAMILIES)
    },
    "queue": {f"queue_{depth}": partial(Queue, _ITEM, depth=depth) for depth in (2, 4, 8, 9, 32)},
    "vector_queue": {
        f"vector_queue_{depth}": partial(VectorQueue, _ITEM, depth=depth) for depth in (2, 8, 9, 32)
    },
    "scan": {
        f"scan_{lanes}": partial(
            Scan, scan_width=lanes, activation_width=width, depth=depth, stages=stages
        )
        for lanes, width, depth, stages in ((1, 16, 8, False), (3, 4, 5, False), (4, 8, 64, True))
    },
    "counts": {
        f"counts_{lanes}": partial(
            Counts,
            scan_width=lanes,
            activation_width=8,
            count_width=width,
            column_depth=columns,
            weight_depth=depth,
            stages=stages,
        )
        for lanes, width, columns, depth, stages in (
            (1, 3, 16, 64, False),
            (3, 2, 30, 90, True),
            (4, 6, 64, 4096, False),
        )
    },
    "segment_queue": {
        f"segment_queue_{depth}": partial(SegmentQueue, _SEGMENT, depth=depth)
        for depth in (8, 9, 32)
    },
    "fetch": {
        f"fetch_{name}": partial(
            unit,
            weight_depth=34,
            entry_width=5,
            count_width=3,
            row_depth=11,
            code_width=4,
            activation_width=8,
        )
        for name, unit in (("short", Fetch), ("port", _OnePort))
    }
    | {
        "fetch_long": partial(
            Fetch,
            weight_depth=256,
            entry_width=9,
            count_width=6,
            row_depth=256,
            code_width=8,
            activation_width=16,
        ),
    },
    "decode": {
        "decode_small": partial(Decode, row_depth=11, code_width=3, activation_width=4),
        "decode_large": partial(Decode, row_depth=256, code_width=8, activation_width=16),
    },
    "accumulate": {
        "accumulate_small": partial(
            Accumulate,
            row_depth=11,
            code_width=3,
            activation_width=8,
            weight_width=9,
            accumulator_width=24,
            codebook_depth=13,
        ),
        "accumulate_large": partial(
            Accumulate,
            row_depth=64,
            code_width=6,
            activation_width=16,
            weight_width=16,
            accumulator_width=48,
            codebook_depth=128,
        ),
    },
    "element": _each("element", Element),
    "drain": _each("drain", Drain)
    # With three blocks to a row.
    | {
        "drain_long": partial(Drain, replace(ODD, elements=9, bias_depth=297)),
        "drain_staged": partial(Drain, STAGED),
    },
    "engine": _each("engine", Engine),
    "loader": _each("loader", Loader),
    "sequencer": _each("sequencer", Sequencer) | {"sequencer_staged": partial(Sequencer, STAGED)},
    "accelerator": _each("accelerator", Accelerator)
    | {"accelerator_flat": partial(Accelerator, FLAT)},
    "staged": {
        "staged_chip": partial(Accelerator, STAGED),
        "staged_outside": _outside,
    },
    "walk": {
        f"walk_{levels}": partial(
            Walk, levels=levels, address_width=address_width, coordinate_width=coordinate_width
        )
        for levels, address_width, coordinate_width in ((1, 3, 5), (3, 6, 6), (5, 20, 12))
    },
    "transpose": {
        f"transpose_{rows}x{columns}": partial(Transpose, signed(5), rows=rows, columns=columns)
        for rows, columns in ((4, 3), (3, 16), (1, 4), (5, 1))
    },
    "feed": {
        "feed_small": partial(Feed, SMALL_CODES, depth=64),
        "feed_large": partial(Feed, LARGE, depth=1024),
    },
    "memory": {
        "memory_chip": partial(OnChip, _WORD, depth=40),
        "memory_quick": partial(Distant, _WORD, address_width=6, reads=8),
        "memory_far": partial(Distant, _WORD, address_width=6, reads=16, latency=7),
        "memory_slow": partial(
            Distant, _WORD, address_width=6, reads=20, latency=13, every=2, turnaround=3
        ),
    },
    "external": {
        f"external_{reads}": partial(External, _WORD, address_width=6, reads=reads)
        for reads in (2, 8, 20)
    },
    "outside": {
        f"outside_{latency}": partial(
            Outside, _WORD, address_width=4, latency=latency, every=every, turnaround=turnaround
        )
        for latency, every, turnaround in ((1, 1, 0), (4, 1, 2), (9, 3, 1))
    },
    "fold": {
        f"fold_{scan_width}": partial(
            Fold,
            scan_width=scan_width,
            activation_width=activation_width,
            accumulator_width=accumulator_width,
            factor_width=factor_width,
        )
        for scan_width, activation_width, accumulator_width, factor_width in (
            (1, 8, 18, 18),
            (2, 8, 40, 12),
            (3, 16, 24, 18),
            (8, 8, 18, 17),
        )
    },
    "maps": {
        "maps_chip": partial(_chain, partial(OnChip, depth=600), partial(OnChip, depth=300)),
        "maps_slow": partial(
            _chain,
            partial(Distant, address_width=10, reads=9, latency=7, every=2, turnaround=2),
            partial(Distant, address_width=9, reads=2),
        ),
    },
    "winograd": {
        f"winograd_{name}": partial(Winograd, parameters)
        for name, parameters in (
            ("small", SMALL),
            ("large", LARGE),
            ("fine", FINE),
            ("small_pairs", SMALL_PAIRS),
            ("large_pairs", LARGE_PAIRS),
        )
    },
}
