"""Weights as an image holds them: Huffman-coded codes and relative rows, and packed biases.

The matrix is flattened, and each non-zero stored as its code and the number of zeros before it.
A symbol of the second stream skips as many zeros as its number says, and the non-zero behind them;
the highest is the escape, which skips zeros only. Deep Compression (S. Han, H. Mao and W. J.
Dally, "Deep compression: compressing deep neural networks with pruning, trained quantization and
Huffman coding", ICLR 2016, section 3) stores relative indices so, with a zero weight for an escape.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from golden import huffman
from golden.errors import ImageError, brief
from golden.layers import MAX_NONZEROS, Weighted

if TYPE_CHECKING:
    from golden.metadata import Spec

__all__ = ["MAX_GAP_WIDTH", "PARTS", "Streams", "decode"]

MAX_GAP_WIDTH = 8
# The tensors of a layer with weights.
PARTS = ("codebook", "bias", "codes", "gaps")


@dataclass(frozen=True)
class Streams:
    """The weights of a layer as they are stored."""

    row_major: bool
    gap_width: int
    escapes: int
    bias_width: int
    code_lengths: np.ndarray
    code_stream: bytes
    gap_lengths: np.ndarray
    gap_stream: bytes
    codebook: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, layer: Weighted) -> "Streams":
        """The smallest form of ``layer`` there is in this format."""
        row_major, gap_width, gaps, codes = _smallest_form(layer)
        escape = 2**gap_width - 1
        ends = np.cumsum(gaps // escape + 1)
        symbols = np.full(int(ends[-1]) if len(ends) else 0, escape, np.uint8)
        symbols[ends - 1] = gaps % escape
        gap_lengths = huffman.lengths(np.bincount(symbols, minlength=escape + 1))
        code_lengths = huffman.lengths(np.bincount(codes, minlength=2**layer.code_width))
        # The complement of a negative number has as many bits as it needs beside the sign.
        bias_width = int((layer.bias ^ (layer.bias >> 31)).max()).bit_length() + 1
        return cls(
            row_major=row_major,
            gap_width=gap_width,
            escapes=len(symbols) - layer.nonzeros,
            bias_width=bias_width,
            code_lengths=code_lengths,
            code_stream=huffman.encode(codes, code_lengths),
            gap_lengths=gap_lengths,
            gap_stream=huffman.encode(symbols, gap_lengths),
            codebook=layer.codebook,
            bias=_pack_bias(layer.bias, bias_width),
        )

    def tensors(self, index: int) -> dict[str, np.ndarray]:
        """The tensors of layer ``index`` by name, but for the codebook."""
        return {
            f"{index}.bias": self.bias,
            f"{index}.codes": _pack_stream(self.code_lengths, self.code_stream),
            f"{index}.gaps": _pack_stream(self.gap_lengths, self.gap_stream),
        }

    def sizes(self) -> dict[str, int]:
        """Bytes of each part; see :class:`Ledger`."""
        padding = (self.escapes * int(self.gap_lengths[-1]) + 4) // 8
        return {
            "codes": len(self.code_stream),
            "rows": len(self.gap_stream) - padding,
            "padding": padding,
            "tables": (len(self.code_lengths) + len(self.gap_lengths)) // 2,
            "codebook": self.codebook.nbytes,
            "bias": self.bias.nbytes,
        }


def decode(
    spec: "Spec",
    codebook: np.ndarray,
    bias: np.ndarray,
    codes: np.ndarray,
    gaps: np.ndarray,
) -> dict[str, np.ndarray]:
    """The weights that an image holds: the arrays of a :class:`~golden.layers.Weighted` layer.

    Parameters
    ----------
    spec : Spec
        What the metadata say of the layer, within bounds.
    codebook : ndarray of int16, ``(2**spec.code_width,)``
    bias : ndarray of uint8
        As many bytes as ``spec.outputs`` numbers of ``spec.bias_width`` bits take.
    codes, gaps : ndarray of uint8
        Tables and streams; the former at least are whole.

    Raises
    ------
    ImageError
        If the parts do not make a matrix. The message names the layer and the field.
    """
    about = f"layer {brief(spec.layer)}: "
    values = _unpack_stream(f"{about}codes", codes, 2**spec.code_width, spec.nonzeros)
    values = values.astype(np.uint8)
    positions = _positions(about, spec, gaps)
    inputs, size = spec.inputs, spec.inputs * spec.outputs
    if len(positions) and positions[-1] >= size:
        raise ImageError(
            f"{about}rows must lie within the matrix of {size} weights, "
            f"not at position {int(positions[-1])}"
        )
    if spec.row_major:
        rows, columns = np.divmod(positions, inputs)
        order = np.argsort(columns, kind="stable")
        values = values[order]
        rows = rows[order].astype(np.int32)
        starts = np.zeros(inputs + 1, np.int64)
        np.cumsum(np.bincount(columns, minlength=inputs), out=starts[1:])
    else:
        rows = (positions % spec.outputs).astype(np.int32)
        starts = np.searchsorted(positions, np.arange(inputs + 1) * spec.outputs)
    return {
        "codes": values,
        "rows": rows,
        "column_starts": starts,
        "codebook": codebook.astype(np.int16),
        "bias": _unpack_bias(about, bias, spec.bias_width, spec.outputs),
    }


def _positions(about: str, spec: "Spec", tensor: np.ndarray) -> np.ndarray:
    """Where each non-zero lies in the flattened matrix, int64 ``(nonzeros,)``."""
    gaps = _unpack_stream(f"{about}gaps", tensor, 2**spec.gap_width, spec.nonzeros + spec.escapes)
    ends = gaps != 2**spec.gap_width - 1
    if np.count_nonzero(ends) != spec.nonzeros or not ends[-1:].all():
        raise ImageError(
            f"{about}gaps must lead to {spec.nonzeros} non-zeros, the last one at the end, "
            f"not to {np.count_nonzero(ends)}"
        )
    # Each symbol skips as many zeros as it says, then the non-zero if it leads to one.
    return np.cumsum(gaps + ends, dtype=np.int64)[ends] - 1


def _smallest_form(layer: Weighted) -> tuple[bool, int, np.ndarray, np.ndarray]:
    """Whether row by row, the width of a gap, and gaps and codes in that order."""
    columns = layer.columns.astype(np.int64)
    by_column = columns * layer.outputs + layer.rows
    by_row = layer.rows.astype(np.int64) * layer.inputs + columns
    order = np.argsort(by_row)
    forms = []
    for row_major, positions in (False, by_column), (True, by_row[order]):
        gaps = np.diff(positions, prepend=-1) - 1
        forms += [(size, width, row_major, gaps) for size, width in _gap_codes(gaps)]
    if not forms:
        raise ImageError(f"layer {layer.name!r}: rows must not lie so far apart")
    _, width, row_major, gaps = min(forms, key=lambda form: form[:3])
    return row_major, width, gaps, layer.codes[order] if row_major else layer.codes


def _gap_codes(gaps: np.ndarray) -> list[tuple[int, int]]:
    """Bytes that the gaps take with symbols of each width, and that width."""
    values, counts = np.unique(gaps, return_counts=True)
    forms = []
    for width in range(1, MAX_GAP_WIDTH + 1):
        escape = 2**width - 1
        symbols = np.zeros(escape + 1, np.int64)
        np.add.at(symbols, values % escape, counts)
        symbols[escape] = (values // escape * counts).sum()
        if symbols.sum() <= MAX_NONZEROS:
            bits = int((symbols * huffman.lengths(symbols)).sum())
            forms.append(((bits + 7) // 8 + 2**width // 2, width))
    return forms


def _pack_stream(lengths: np.ndarray, stream: bytes) -> np.ndarray:
    """The lengths of the code words, 4 bits each, and the stream behind them."""
    table = lengths[0::2] << 4 | lengths[1::2]
    return np.concatenate([table, np.frombuffer(stream, np.uint8)])


def _unpack_stream(about: str, tensor: np.ndarray, alphabet: int, count: int) -> np.ndarray:
    table, stream = tensor[: alphabet // 2], tensor[alphabet // 2 :]
    lengths = np.stack([table >> 4, table & 15], axis=1).ravel()
    try:
        return huffman.decode(stream.tobytes(), lengths, count)
    except ValueError as error:
        raise ImageError(f"{about}: {error}") from None


def _pack_bias(bias: np.ndarray, width: int) -> np.ndarray:
    """The lowest ``width`` bits of each number, one after the other, the highest first."""
    bits = np.unpackbits(bias.astype(">i4").view(np.uint8)).reshape(-1, 32)
    return np.packbits(bits[:, 32 - width :])


def _unpack_bias(about: str, data: np.ndarray, width: int, count: int) -> np.ndarray:
    bits = np.unpackbits(data)
    if bits[count * width :].any():
        raise ImageError(f"{about}bias must be filled up with zeros to whole bytes")
    low = bits[: count * width].reshape(count, width)
    signs = np.repeat(low[:, :1], 32 - width, axis=1)
    return np.packbits(np.hstack([signs, low])).view(">i4").astype(np.int32)
