"""The container of an image: a safetensors file, read with bounds on everything it claims.

A file is the length of its header, 8 bytes, little-endian; the header, a JSON object that gives
each tensor its type, shape and place, and strings by name under ``__metadata__``; and the tensors'
bytes. Any safetensors reader takes what :func:`write` makes. :func:`read` is not
the one of the safetensors package for three reasons: what it refuses it names, always in an
:class:`~golden.errors.ImageError`; it refuses JSON that two readers may take differently;
and the same content always makes the same bytes, for every version of that package.
"""

import json
import math
from typing import Any, NoReturn

import numpy as np

from golden.errors import ImageError, brief

__all__ = ["MAX_HEADER", "parse_json", "read", "write"]

MAX_HEADER = 2**20
_METADATA = "__metadata__"
_DTYPES: dict[str, np.dtype] = {"U8": np.dtype("u1"), "I16": np.dtype("<i2")}
_TYPES = {dtype: name for name, dtype in _DTYPES.items()}


def write(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The file of ``tensors`` and ``metadata``, both in the order given.

    Parameters
    ----------
    tensors : dict of str to ndarray of uint8 or int16
        Tensors by name. Those of int16 should come first, to lie at even addresses.
    metadata : dict of str to str
        Strings by name.

    Returns
    -------
    bytes
        The file. Its header is filled up with blanks to a multiple of 8 bytes.

    Raises
    ------
    ImageError
        If the header is larger than a reader would take.
    """
    header: dict[str, Any] = {_METADATA: metadata}
    parts = []
    end = 0
    for name, tensor in tensors.items():
        dtype = tensor.dtype.newbyteorder("<")
        parts.append(tensor.astype(dtype).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {
            "dtype": _TYPES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ImageError(f"header must have at most {MAX_HEADER} bytes, not {len(text)}")
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and tensors of a file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    metadata : dict of str to str
    tensors : dict of str to ndarray of uint8 or int16
        Views of ``data`` that cannot be written to.

    Raises
    ------
    ImageError
        If the file is no safetensors file, is not complete, or its tensors overlap or leave bytes
        unused.
    """
    if len(data) < 8:
        raise ImageError(f"header must follow its length of 8 bytes, not end after {len(data)}")
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER:
        raise ImageError(f"header must have at most {MAX_HEADER} bytes, not {size}")
    if size > len(data) - 8:
        raise ImageError(f"header must have its {size} bytes, not end after {len(data) - 8}")
    header = parse_json(data[8 : 8 + size], "header")
    if not isinstance(header, dict):
        raise ImageError("header must be a JSON object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise ImageError("metadata must be a JSON object of strings")
    tensors = {}
    places = []
    for name, entry in header.items():
        tensors[name], place = _tensor(name, entry, memoryview(data)[8 + size :])
        places.append((*place, name))
    end = 0
    for start, stop, name in sorted(places):
        if start != end:
            raise ImageError(f"tensor {brief(name)} must start at byte {end}, not {start}")
        end = stop
    if end != len(data) - 8 - size:
        raise ImageError(f"tensors must have {len(data) - 8 - size} bytes together, not {end}")
    return metadata, tensors


def parse_json(text: bytes | str, field: str) -> Any:
    """What the JSON ``text`` stands for, without fractions, NaN, infinities and double keys.

    Raises
    ------
    ImageError
        If it is not such a text, or nested too deeply. The message starts with ``field``.

    Examples
    --------
    >>> parse_json("[1, [2, true]]", "shape")
    [1, [2, True]]
    """
    try:
        return json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_unique,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{field} must be JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text:.40} is not a whole number")


def _tensor(name: str, entry: Any, data: memoryview) -> tuple[np.ndarray, tuple[int, int]]:
    """One tensor and the place of its first byte and that behind its last."""
    about = f"tensor {brief(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ImageError(f"{about} must have a dtype, a shape and data_offsets, and no more")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise ImageError(
            f"{about}: dtype must be one of {tuple(_DTYPES)}, not {brief(entry['dtype'])}"
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    for field, numbers, most in ("shape", shape, 2), ("data_offsets", offsets, 2):
        if (
            not isinstance(numbers, list)
            or not 1 <= len(numbers) <= most
            or not all(type(x) is int and 0 <= x <= 2**40 for x in numbers)
        ):
            raise ImageError(f"{about}: {field} must be 1 to {most} sizes, not {brief(numbers)}")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(data):
        raise ImageError(
            f"{about}: data_offsets must be a range within {len(data)} bytes, not {offsets!r}"
        )
    start, stop = offsets
    if math.prod(shape) * dtype.itemsize != stop - start:
        raise ImageError(
            f"{about}: shape must make {stop - start} bytes of {entry['dtype']}, not {shape!r}"
        )
    return np.frombuffer(data[start:stop], dtype).reshape(shape), (start, stop)
