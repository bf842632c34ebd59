"""What the metadata of an image say of its layers: one JSON list for each field."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from golden import coding, container
from golden.coding import Streams
from golden.errors import ImageError, brief
from golden.layers import (
    MAX_LAYERS,
    MAX_NONZEROS,
    MAX_SIDE,
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    Layer,
    MaxPooling,
    Weighted,
)

__all__ = ["KINDS", "REQUIRED", "Spec", "coded", "content", "describe", "read", "to_json", "write"]

KINDS: dict[str, type[Layer]] = {
    cls.kind: cls
    for cls in (FullyConnected, Convolution, MaxPooling, AveragePooling, Addition, Concatenation)
}
"""Kinds of layers, by what an image calls them."""


class Spec(NamedTuple):
    """What the metadata say of a layer; each field is a column there, a JSON list.

    An element is null if layers of that kind have no such field, and a column with no other
    elements is left out.
    """

    layer: str
    kind: str
    sources: Any
    output_radix: int
    activation: str
    outputs: Any = None
    inputs: Any = None
    nonzeros: Any = None
    code_width: Any = None
    weight_radix: Any = None
    kernel: Any = None
    stride: Any = None
    padding: Any = None
    groups: Any = None
    ceil_mode: Any = None
    count_padding: Any = None
    bias_width: Any = None
    row_major: Any = None
    gap_width: Any = None
    escapes: Any = None

    @property
    def has_weights(self) -> bool:
        """Whether tensors belong to it."""
        return issubclass(KINDS[self.kind], Weighted)

    @property
    def own(self) -> dict[str, Any]:
        """Fields that only its kind has, as the layer takes them."""
        values = {name: getattr(self, name) for name in _own(KINDS[self.kind])}
        return {name: bool(x) if name in _FLAGS else x for name, x in values.items()}


REQUIRED = Spec._fields[:5]
"""What every layer has."""

# What stands for a matrix of weights, and what says how that is coded.
_MATRIX = ("outputs", "inputs", "nonzeros")
_CODED = ("bias_width", "row_major", "gap_width", "escapes")
_FLAGS = ("ceil_mode", "count_padding")

# The fields that say how much there is to read, and those that become another type. The layers
# check the others.
_BOUNDS = {
    "outputs": (1, MAX_SIDE),
    "inputs": (1, MAX_SIDE),
    "nonzeros": (0, MAX_NONZEROS),
    "code_width": (2, 8),
    "bias_width": (1, 32),
    "row_major": (0, 1),
    "gap_width": (1, coding.MAX_GAP_WIDTH),
    "escapes": (0, MAX_NONZEROS),
    "ceil_mode": (0, 1),
    "count_padding": (0, 1),
}


def describe(layer: Layer, sources: Sequence[int]) -> Spec:
    """What the metadata say of ``layer``, but for how its weights are coded."""
    values: dict[str, Any] = {name: getattr(layer, name) for name in _own(type(layer))}
    values |= {name: int(values[name]) for name in _FLAGS if name in values}
    if isinstance(layer, Weighted):
        values |= {name: getattr(layer, name) for name in _MATRIX}
    return Spec(layer.name, layer.kind, sources, layer.output_radix, layer.activation, **values)


def coded(spec: Spec, streams: Streams) -> Spec:
    """``spec``, with how the weights are coded."""
    return spec._replace(
        bias_width=streams.bias_width,
        row_major=int(streams.row_major),
        gap_width=streams.gap_width,
        escapes=streams.escapes,
    )


def content(spec: Spec) -> dict[str, Any]:
    """All of ``spec`` that does not depend on how the weights are coded."""
    return {name: value for name, value in spec._asdict().items() if name not in _CODED}


def write(specs: Sequence[Spec]) -> dict[str, str]:
    """The metadata that say this of layers."""
    columns = zip(Spec._fields, zip(*specs, strict=True), strict=True)
    return {field: to_json(column) for field, column in columns if _is_used(column)}


def read(metadata: dict[str, str]) -> list[Spec]:
    """What the metadata say of layers, with at least the columns :data:`REQUIRED`.

    Raises
    ------
    ImageError
        If a column is damaged, or says how much there is to read and is out of bounds. The message
        names the layer and the field.
    """
    columns = {}
    for field in Spec._fields:
        if field in metadata:
            columns[field] = container.parse_json(metadata[field], field)
            if not isinstance(columns[field], list):
                raise ImageError(f"{field} must be a list, one element a layer")
    count = len(columns["layer"])
    if not 1 <= count <= MAX_LAYERS:
        raise ImageError(f"layer must name 1 to {MAX_LAYERS} layers, not {count}")
    for field, column in columns.items():
        if len(column) != count:
            raise ImageError(f"{field} must have {count} elements, one a layer, not {len(column)}")
        if field not in REQUIRED and not _is_used(column):
            raise ImageError(f"{field} must be left out, as it is null for every layer")
    none = [None] * count
    specs = [Spec(*own) for own in zip(*(columns.get(x, none) for x in Spec._fields), strict=True)]
    for spec in specs:
        _check(spec)
    return specs


def to_json(value: object) -> str:
    """JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_used(column: Sequence[Any]) -> bool:
    return any(x is not None for x in column)


def _own(kind: type[Layer]) -> list[str]:
    """Columns that are fields of layers of this kind, but for those that every layer has."""
    fields = {field.name for field in dataclasses.fields(kind)}
    return [name for name in Spec._fields if name in fields and name not in REQUIRED]


def _check(spec: Spec) -> None:
    about = f"layer {brief(spec.layer)}: "
    if not isinstance(spec.kind, str) or spec.kind not in KINDS:
        raise ImageError(f"{about}kind must be one of {tuple(KINDS)}, not {brief(spec.kind)}")
    kind = KINDS[spec.kind]
    wanted = {*REQUIRED, *_own(kind), *(_MATRIX + _CODED if spec.has_weights else ())}
    for field, value in spec._asdict().items():
        if field not in wanted:
            if value is not None:
                raise ImageError(
                    f"{about}{field} must be null for the kind {spec.kind!r}, not {brief(value)}"
                )
        elif field in _BOUNDS:
            low, high = _BOUNDS[field]
            if type(value) is not int or not low <= value <= high:
                raise ImageError(
                    f"{about}{field} must be an integer from {low} to {high}, not {brief(value)}"
                )
