"""The Winograd unit as a compiled model: whole layers, bit by bit and cycle by cycle."""

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Shape

from golden.errors import DeviceError
from hdl.verilog import convert
from hdl.winograd.engine import Engine
from hdl.winograd.parameters import Descriptor, Parameters
from mapping.winograd import Convolution, beats, blocks, describe, image
from sim.build import compile_model
from sim.cache import cached, digest

__all__ = ["CompiledUnit", "Layer", "Run"]

_MODEL = Path(__file__).with_name("winograd.cpp")
_STREAMS = ("layer", "i", "biases", "codebook", "weights", "o")


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with all that it takes."""

    convolution: Convolution
    inputs: np.ndarray
    """Activations, ``(channels, height, width)``."""
    weights: np.ndarray
    """Weights, or their codes, ``(kernels, channels, 3, 3)``; if the layer is paired, ``(kernels,
    channels, tile + 2, tile + 2)``."""
    biases: np.ndarray
    """``(kernels,)``."""
    codebook: np.ndarray | None = None
    """Values of the codes."""


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a run."""

    outputs: list[np.ndarray]
    """Results of each layer, ``(kernels, rows, columns)``."""
    busy: np.ndarray
    """Cycles that each took, from its first tile to its last result."""
    begun: np.ndarray
    """The first of these cycles."""
    cycles: int
    """How long all of it took, from the first beat to the last."""


class _Stream(ctypes.Structure):
    _fields_ = (
        ("beats", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "words", "done", "stall")),
    )


class _State(ctypes.Structure):
    _fields_ = (
        *((name, _Stream) for name in _STREAMS),
        ("busy", ctypes.c_void_p),
        ("begun", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("layers", "finished", "cycles", "idle")),
        ("random", ctypes.c_uint64),
    )


class CompiledUnit:
    """A unit, compiled.

    Parameters
    ----------
    parameters : Parameters
        Which one. It is built if the cache does not have it.

    Raises
    ------
    ToolError
        If a program that building takes is missing or fails.
    """

    # Cycles in which nothing moves until it is given up. A tile can take as long.
    PATIENCE = 200_000

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        engine = Engine(parameters)
        text = convert(engine, name="winograd")

        def make(folder: Path, log: Path) -> Path:
            path = folder / "winograd.v"
            path.write_text(text)
            return path

        source = cached(f"winograd-{digest(text)}.v", make)
        shape = [f"-DCODEBOOK={parameters.code_width is not None:d}"]
        self._words = {
            name: -(-Shape.cast(getattr(engine, name).payload.shape()).width // 32)
            for name in _STREAMS
            if hasattr(engine, name)
        }
        library = ctypes.CDLL(str(compile_model(source, _MODEL, top="winograd", shape=shape)))
        library.winograd_new.restype = ctypes.c_void_p
        for function in library.winograd_delete, library.winograd_reset, library.winograd_run:
            function.restype = None
        library.winograd_delete.argtypes = [ctypes.c_void_p]
        library.winograd_reset.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.winograd_run.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(_State),
            ctypes.c_int64,
            ctypes.c_int64,
        ]
        self._library = library
        self._handle = library.winograd_new()
        self._delete = weakref.finalize(self, library.winograd_delete, self._handle)
        self.reset()

    def reset(self, cycles: int = 2) -> None:
        self._library.winograd_reset(self._handle, cycles)

    def run(
        self,
        layers: Sequence[Layer],
        *,
        stall: float = 0.0,
        stall_out: float = 0.0,
        seed: int = 1,
        cycles: int | None = None,
    ) -> Run | None:
        """Run layers one right behind the other.

        Parameters
        ----------
        layers : sequence of Layer
        stall, stall_out : float
            Chance that the other side of a stream into the unit, or out of it, waits for a cycle.
        seed : int
            Of these chances.
        cycles : int or None
            When to leave off in the middle, with None in place of a result.

        Raises
        ------
        ValueError
            If value 0 of a paired layer's codebook is not 0.
        FitError
            If the unit is too small for a layer.
        DeviceError
            If the unit comes to a halt.
        """
        p = self.parameters
        for layer in layers:
            if layer.convolution.paired and layer.codebook is not None and layer.codebook[0]:
                raise ValueError(
                    f"codebook[0] must be 0 for a paired layer, not {layer.codebook[0]}"
                )
        layout = Descriptor(p)
        fields = [describe(layer.convolution, p) for layer in layers]
        sizes = [
            described["rows"] * described["columns"] * described["kernels"] for described in fields
        ]
        streams = {
            "layer": _bits([layout.const(f).as_bits() for f in fields], self._words["layer"]),
            "i": np.concatenate(
                [
                    self._pack(blocks(layer.inputs, p.tile), "i", p.activation_width)
                    for layer in layers
                ]
            ),
            "biases": np.concatenate([layer.biases for layer in layers]).astype(np.uint32),
            "weights": np.concatenate(
                [
                    self._pack(
                        beats(layer.weights, p, described["bands"]),
                        "weights",
                        p.number_width,
                    )
                    for layer, described in zip(layers, fields, strict=True)
                ]
            ),
            "o": np.zeros((sum(sizes), self._words["o"]), np.uint32),
        }
        if p.code_width is not None:
            streams["codebook"] = np.concatenate([layer.codebook for layer in layers]).astype(
                np.uint32
            )
        streams = {name: np.ascontiguousarray(beats_) for name, beats_ in streams.items()}
        busy, begun = np.zeros(len(layers) + 1, np.int64), np.zeros(len(layers) + 1, np.int64)
        state = _State(
            **{
                name: _Stream(
                    beats_.ctypes.data,
                    len(beats_),
                    self._words[name],
                    0,
                    round(256 * (stall_out if name == "o" else stall)),
                )
                for name, beats_ in streams.items()
            },
            busy=busy.ctypes.data,
            begun=begun.ctypes.data,
            layers=len(layers),
            random=0x9E3779B97F4A7C15 ^ seed,
        )
        limit = 1 << 40 if cycles is None else cycles
        self._library.winograd_run(self._handle, ctypes.byref(state), limit, self.PATIENCE)
        if cycles is not None:
            return None
        if state.idle >= self.PATIENCE or state.o.done != state.o.count:
            done = ", ".join(
                f"{getattr(state, name).done} of {getattr(state, name).count} {name}"
                for name in _STREAMS
            )
            raise DeviceError(f"the unit came to a halt: {done}")
        return Run(self._unpack(streams["o"], layers, sizes), busy[:-1], begun[:-1], state.cycles)

    def _pack(self, numbers: np.ndarray, name: str, width: int) -> np.ndarray:
        """Beats of ``name`` whose parts are ``numbers[beat]``, of ``width`` bits."""
        parts = numbers.reshape(len(numbers), -1)
        bits = (parts[..., None] >> np.arange(width) & 1).astype(np.uint8)
        flat = bits.reshape(len(numbers), -1)
        padded = np.zeros((len(numbers), 32 * self._words[name]), np.uint8)
        padded[:, : flat.shape[1]] = flat
        return np.packbits(padded, axis=1, bitorder="little").view("<u4")

    def _unpack(
        self, words: np.ndarray, layers: Sequence[Layer], sizes: Sequence[int]
    ) -> list[np.ndarray]:
        p = self.parameters
        width = p.activation_width
        numbers = words.view(f"<i{width // 8}")[:, : p.tile**2].astype(np.int64)
        parts = np.split(numbers.reshape(-1, p.tile, p.tile), np.cumsum(sizes)[:-1])
        return [
            image(part, *layer.convolution.results)
            for part, layer in zip(parts, layers, strict=True)
        ]


def _bits(numbers: Sequence[int], words: int) -> np.ndarray:
    """Numbers of so many words, the lowest first."""
    return np.array(
        [[number >> 32 * n & 0xFFFFFFFF for n in range(words)] for number in numbers], np.uint32
    )
