"""The accelerator as a compiled model: whole networks in seconds, bit by bit and cycle by cycle.

Verilator turns the design into C++, and ``model.cpp`` puts a C interface around it.
"""

import ctypes
import os
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from golden.errors import DeviceError, MismatchError, PrunusError
from hdl.configuration import Configuration
from hdl.loader import Header, Space
from hdl.sparse.element import COUNTERS
from mapping import Plan
from sim import waves as gtkwave
from sim.build import build

__all__ = ["CompiledModel", "Report", "Run"]

# Name of the trace while it is written.
_TRACE = "trace.vcd"


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
    """Activations of each layer that is shown, as :attr:`mapping.Plan.shown` says: int16
    ``(batch, activations)``."""
    tapped: list[np.ndarray] | None
    """Cycle in which each of them came into being, uint64 of the same shapes."""


@dataclass(frozen=True, eq=False)
class Report:
    """What the accelerator counted since the report before, or since it was reset."""

    cycles: list[int]
    """Cycles that each layer that is shown took, in all of its tiles or stages."""
    counters: dict[str, np.ndarray]
    """Cycles that each element spent, int64 ``(elements,)``; see
    :class:`hdl.sparse.element.Element`."""


class _State(ctypes.Structure):
    """``Run`` of ``model.cpp``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inputs", "outputs", "finished", "taps", "tapped")),
        *(
            (name, ctypes.c_int64)
            for name in ("vectors", "beats_in", "beats_out", "beats_tap", "ahead", "traced")
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
        Where to write a trace of all signals while the first :attr:`TRACED` vectors are run, in
        the format VCD. A save file for GTKWave goes beside it. Such a model is slow. Both files
        come when it is closed, whole or not at all: an exception that is not about what the
        hardware did wrong leaves none.

    Raises
    ------
    ToolError
        If a program that building takes is missing or fails.
    PrunusError
        If the cache cannot be written.
    OSError
        If the trace cannot be written. So it is with :meth:`run` and :meth:`close`.

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
    # The same for loading, in beats.
    LOADED = 100_000
    # Vectors that are traced: 12 MB each, for LeNet-300-100 on 16 elements.
    TRACED = 4

    def __init__(self, configuration: Configuration, *, waves: Path | None = None) -> None:
        if not isinstance(configuration, Configuration):
            raise TypeError(f"configuration must be a Configuration, not {configuration!r}")
        self.configuration = configuration
        self._plan: Plan | None = None
        self._patience = _patience(configuration)
        self._waves = waves
        self._traced = 0
        self._trace_start = 0
        self._library = _open(build(configuration, trace=waves is not None))
        self._folder = None if waves is None else _folder_beside(waves)
        trace = self._folder and os.fsencode(Path(self._folder.name, _TRACE))
        self._handle: int | None = self._library.prunus_new(trace)
        self._delete = weakref.finalize(self, self._library.prunus_delete, self._handle)
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # What the hardware does wrong is what a trace is for.
        self._close(keep=error is None or isinstance(error, (DeviceError, MismatchError)))

    def close(self) -> None:
        """Give its memory back, and finish the trace. What is closed may be closed again."""
        self._close(keep=True)

    def _close(self, *, keep: bool) -> None:
        if self._handle is None:
            return
        try:
            if keep:
                self._library.prunus_finish_trace(self._handle)
                self._check_trace()
                self._keep_trace()
        finally:
            self._delete()
            self._handle = None
            if self._folder is not None:
                self._folder.cleanup()

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
        DeviceError
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
        ahead: int = 8,
        taps: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Run:
        """Run the network that is loaded. If this is interrupted, the accelerator is reset.

        Parameters
        ----------
        inputs : ndarray of int, ``(batch, network.inputs)``
            Activations of ``network.activation_width`` bits.
        ahead : int
            Vectors that are sent before the answer to the first of them is there. With 1, they are
            run one at a time; from 8 on, the accelerator never waits for its input.
        taps : bool
            Whether to watch the activations of every layer. Only of vectors that are run one at a
            time, for the layers of others are mixed.
        progress : callable or None
            Called now and then with the number of vectors that are done.

        Raises
        ------
        TypeError, ValueError
            If ``inputs`` are not integers of that width and shape, or are none, or ``ahead`` is
            not positive, or more than 1 with ``taps``.
        PrunusError
            If no network is loaded.
        DeviceError
            If the accelerator comes to a halt.
        """
        handle = self._open_handle()
        plan = self._plan
        if plan is None:
            raise PrunusError("no network is loaded")
        if not isinstance(ahead, int) or isinstance(ahead, bool) or ahead < 1:
            raise TypeError(f"ahead must be a positive integer, not {ahead!r}")
        if taps and ahead > 1:
            raise ValueError(f"ahead must be 1 to watch activations, not {ahead!r}")
        blocks = np.ascontiguousarray(plan.pack(_checked(inputs, plan)))
        batch, lanes = len(blocks), self.configuration.scan_width
        shown = sum(part.blocks for parts in plan.shown.values() for part in parts)
        outputs = np.zeros((batch, plan.beats_out, lanes), np.int16)
        finished = np.zeros(batch, np.uint64)
        tap = np.zeros((batch, shown, lanes) if taps else 0, np.int16)
        tapped = np.zeros((batch, shown) if taps else 0, np.uint64)

        state = _State(
            inputs=blocks.ctypes.data,
            outputs=outputs.ctypes.data,
            finished=finished.ctypes.data,
            taps=tap.ctypes.data if taps else None,
            tapped=tapped.ctypes.data if taps else None,
            vectors=batch,
            beats_in=plan.beats_in,
            beats_out=plan.beats_out,
            beats_tap=shown,
            ahead=min(ahead, batch),
            traced=self._begin_trace(batch),
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
            _by_layer(tap, plan) if taps else None,
            _by_layer(np.repeat(tapped[..., None], lanes, axis=2), plan) if taps else None,
        )

    def report(self) -> Report:
        """Ask for what the accelerator counted, and clear it.

        Raises
        ------
        PrunusError
            If no network is loaded.
        DeviceError
            If the report does not come.
        """
        handle = self._open_handle()
        if self._plan is None:
            raise PrunusError("no network is loaded")
        c = self.configuration
        header = Header.const({"space": Space.REPORT}).as_bits()
        self._send(np.array([header], np.uint32))
        of_stages = c.stage_depth * c.stages
        numbers = np.zeros(of_stages + c.layer_depth + len(COUNTERS) * c.elements, np.uint32)
        came = self._library.prunus_report(
            handle, numbers.ctypes.data, len(numbers), self._patience
        )
        if came != len(numbers):
            raise DeviceError(
                f"the accelerator gave {came} of {len(numbers)} numbers of its report, "
                f"then none for {self._patience} cycles"
            )
        stages, numbers = np.split(numbers.astype(np.int64), [of_stages])
        counters = numbers[c.layer_depth :].reshape(c.elements, -1)
        lines = self._plan.lines
        cycles = np.zeros(len(self._plan.layers), np.int64)
        np.add.at(cycles, list(lines), numbers[: len(lines)])
        counted = dict(zip(COUNTERS, counters.T, strict=True))
        counted["starved"] = cycles.sum() - counted["busy"] - counted["padding"]
        if self._plan.stages:
            of_layer = dict.fromkeys(self._plan.shown, 0)
            for one, taken in zip(self._plan.stages, stages.tolist(), strict=False):
                if one.layer in of_layer:
                    of_layer[one.layer] += taken
            return Report([*of_layer.values()], counted)
        return Report(cycles.tolist(), counted)

    def _send(self, beats: np.ndarray) -> None:
        beats = np.ascontiguousarray(beats, np.uint32)
        try:
            for sent in range(0, len(beats), self.LOADED):
                part = beats[sent : sent + self.LOADED]
                more = sent + len(part) < len(beats)
                taken = self._library.prunus_load(
                    self._open_handle(), part.ctypes.data, len(part), more, self._patience
                )
                if taken != len(part):
                    raise DeviceError(
                        f"the accelerator took {sent + taken} of {len(beats)} beats to load, "
                        f"then none for {self._patience} cycles"
                    )
        except BaseException:
            self.reset()
            raise

    def _advance(
        self,
        handle: int,
        state: _State,
        plan: Plan,
        progress: Callable[[int], object] | None,
    ) -> None:
        cycles = 1000
        while state.received < state.vectors * state.beats_out:
            begin = time.perf_counter()
            self._library.prunus_run(handle, ctypes.byref(state), cycles, self._patience)
            self._check_trace()
            if state.idle >= self._patience:
                line = self._library.prunus_line(handle)
                known = 0 <= line < len(plan.lines)
                where = "between layers"
                if known:
                    where = f"in layer {plan.layers[plan.lines[line]].name!r}"
                raise DeviceError(
                    f"the accelerator gave {state.received // state.beats_out} of {state.vectors} "
                    f"results, then nothing for {self._patience} cycles, {where}"
                )
            seconds = max(time.perf_counter() - begin, 1e-6)
            cycles = max(1000, int(cycles * self.SLICE / seconds))
            if progress is not None:
                progress(state.received // state.beats_out)
        if state.taps and state.seen != state.vectors * state.beats_tap:
            raise DeviceError(
                f"the accelerator showed {state.seen} blocks of activations, "
                f"not {state.vectors * state.beats_tap}"
            )

    def _begin_trace(self, batch: int) -> int:
        """How many of the next ``batch`` vectors are traced."""
        if self._waves is None:
            return 0
        if not self._traced:
            self._trace_start = 10 * self.cycles
        count = min(batch, self.TRACED - self._traced)
        self._traced += count
        return count

    def _check_trace(self) -> None:
        if error := self._library.prunus_trace_error(self._handle):
            raise OSError(error, os.strerror(error), str(self._waves))

    def _keep_trace(self) -> None:
        """Give the trace its name, and the save file for GTKWave beside it."""
        if self._waves is None or self._folder is None:
            return
        trace, save = Path(self._folder.name, _TRACE), Path(self._folder.name, "save")
        beside = self._waves.with_suffix(".gtkw")
        try:
            gtkwave.save(save, self._waves, self.configuration, start=self._trace_start)
            trace.replace(self._waves)
            save.replace(beside)
        except OSError as error:
            raise _about(error, self._waves) from error

    def _open_handle(self) -> int:
        if self._handle is None:
            raise ValueError("the model is closed")
        return self._handle


def _patience(configuration: Configuration) -> int:
    """Twice the cycles that a vector can take: who waits longer waits in vain."""
    c = configuration
    drain = c.row_depth * c.groups + 100
    return 2 * (c.weight_depth + c.column_depth + c.layer_depth * drain)


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for what is to be renamed to ``path``."""
    try:
        return tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _about(error, path) from error


def _about(error: OSError, path: Path) -> OSError:
    """The same error, about a name that the caller knows."""
    return OSError(error.errno, error.strerror, str(path))


def _checked(inputs: np.ndarray, plan: Plan) -> np.ndarray:
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "iu":
        raise TypeError(f"inputs must be an array of integers, not {inputs!r}")
    if not inputs.size:
        raise ValueError("inputs must be at least one vector, not none")
    high = 1 << (plan.network.activation_width - 1)
    if not (-high <= inputs.min() and inputs.max() < high):
        raise ValueError(
            f"inputs must be {-high} to {high - 1}, not {inputs.min()} to {inputs.max()}"
        )
    return inputs


def _by_layer(blocks: np.ndarray, plan: Plan) -> list[np.ndarray]:
    """What came of each layer that is shown, in the order of its activations."""
    values = blocks.reshape(len(blocks), -1)
    found, first = [], 0
    for parts in plan.shown.values():
        size = sum(len(part.outputs) for part in parts)
        found.append(np.zeros((len(blocks), size), blocks.dtype))
        for part in parts:
            found[-1][:, part.outputs] = values[:, first + part.positions]
            first += part.blocks * blocks.shape[2]
    return found


def _open(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, pointer, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("new", handle, [ctypes.c_char_p]),
        ("delete", None, [handle]),
        ("finish_trace", None, [handle]),
        ("trace_error", number, [handle]),
        ("cycles", number, [handle]),
        ("reset", None, [handle]),
        ("load", number, [handle, pointer, number, ctypes.c_bool, number]),
        ("run", None, [handle, ctypes.POINTER(_State), number, number]),
        ("line", number, [handle]),
        ("report", number, [handle, pointer, number, number]),
    ):
        function = getattr(library, f"prunus_{name}")
        function.restype, function.argtypes = result, arguments
    return library
