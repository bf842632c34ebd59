"""From a trained PyTorch module to an image, without retraining: captured, shared, fixed point."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from golden.compress.fixed_point import activation_radix, to_layer
from golden.compress.share import share
from golden.errors import FitError, UnsupportedError
from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    Layer,
    MaxPooling,
    Network,
    Shape,
    Weighted,
)

__all__ = ["convert"]

_RADIXES = range(-16, 32)


def convert(
    module: nn.Module,
    calibration: Tensor,
    *,
    name: str,
    bits: int | Mapping[str, int],
    activation_width: int = 16,
    weight_width: int = 16,
    accumulator_width: int = 36,
) -> Network:
    """An image of a trained module.

    The module is captured by :func:`torch.export.export`, in evaluation mode, so that it may be
    written in any way that leads to convolutions, linear layers, batch normalisation right behind
    one of these, ReLU, pooling, addition and concatenation of channels. Batch normalisation is
    folded into the weights. These are then clustered as they are: those that are zero stay
    zero, and the others share values. If a layer has no more different ones than codes, its
    weights stay what they are.

    Feature maps become channels last: the inputs of the image are those of the module with their
    channels moved to the end, flattened, and so are its outputs if they are a feature map. Columns
    of a linear layer behind a flattening are put into that order.

    Parameters
    ----------
    module : nn.Module
        A network of one input and one output, whose first index is the batch.
    calibration : Tensor of float32, ``(n, inputs)`` or ``(n, channels, height, width)``
        Training inputs from which the radix points of all activations are chosen.
    name : str
        Name of the image.
    bits : int, or mapping of str to int
        Width of the codes of all layers, 2 to 8; or that of each layer with weights, by its name.
        The name is that of the module within ``module`` which has the weights.
    activation_width : int
        Bits of every activation, 8 or 16.
    weight_width : int
        Bits of every shared value, 8 to 16.
    accumulator_width : int
        Bits that no accumulator needs more of, whatever the input.

    Returns
    -------
    golden.layers.Network

    Raises
    ------
    UnsupportedError
        If the module does what no layer can do. The message names it.
    FitError
        If the accumulator is too narrow.
    ImageError
        If the network is beyond the bounds of the format.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> module = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    >>> network = convert(module, torch.rand(5, 1, 8, 8), name="small", bits=4)
    >>> [(layer.kind, shape) for layer, shape in zip(network.layers, network.shapes[1:])]
    [('convolution', (6, 6, 4)), ('max', (3, 3, 4)), ('fully_connected', (10,))]
    """
    was_training = module.training
    try:
        graph = _Capture(module.eval(), calibration)
    finally:
        module.train(was_training)
    return _Quantiser(graph, bits, activation_width, weight_width, accumulator_width).network(name)


@dataclass(eq=False)
class _Node:
    """A layer in real numbers."""

    name: str
    kind: type[Layer]
    sources: tuple[int, ...]
    shape: Shape
    fields: dict[str, Any] = field(default_factory=dict)
    weights: Tensor | None = None
    bias: Tensor | None = None
    relu: bool = False
    made_by: list[fx.Node] = field(default_factory=list)
    """What gives its tensor in the captured graph, the last of them after its ReLU."""


@dataclass(frozen=True)
class _Value:
    """What a node of the captured graph stands for."""

    tensor: int
    is_flat: bool = False
    """Whether it is a feature map flattened, which in PyTorch has the channels first."""


class _Capture:
    """A module as layers in real numbers, and what its tensors are for the calibration inputs."""

    def __init__(self, module: nn.Module, calibration: Tensor) -> None:
        self.program = torch.export.export(module, (calibration,), strict=False)
        self.layers: list[_Node] = []
        self.known: dict[fx.Node, _Value] = {}
        self.constants: dict[fx.Node, tuple[str, Tensor]] = {}
        self.input_shape = _channels_last(calibration)
        signature = self.program.graph_signature
        stored = {**self.program.state_dict, **self.program.constants}
        targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        arguments = []
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in targets:
                target = targets[node.name]
                self.constants[node] = target, stored[target].detach()
                arguments.append(stored[target])
            elif node.op == "placeholder":
                self.known[node] = _Value(0)
                self.input_node = node
                arguments.append(calibration)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                self._end(node)
        self.values = _values(self.program.graph_module, arguments)

    def tensors(self) -> list[Tensor]:
        """The values of each tensor, that of the input first."""
        nodes = [self.input_node, *(layer.made_by[-1] for layer in self.layers)]
        return [self.values[node.name] for node in nodes]

    def _call(self, node: fx.Node) -> None:
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        call = _CALLS.get(name.removesuffix("_"))
        if call is None:
            raise UnsupportedError(f"{node.name}: no layer can do {node.target}")
        if name.endswith("_"):
            changed = node.args[0]
            self._source(node, changed, is_flat=True)
            assert isinstance(changed, fx.Node)
            if self._alone(changed) is None:
                raise UnsupportedError(f"{node.name}: must not change what others take")
        call(self, node, _arguments(node))

    def _end(self, node: fx.Node) -> None:
        (results,) = node.args
        if not isinstance(results, tuple | list) or len(results) != 1:
            raise UnsupportedError("the module must have one output")
        end = self.known.get(results[0])  # type: ignore[arg-type]
        if end is None or end.tensor != len(self.layers) or not self.layers:
            raise UnsupportedError("the module must end with a layer")
        height, wide, _ = self._shape_of(end) if end.is_flat else (1, 1, 1)
        if height * wide > 1:
            raise UnsupportedError("the module must not end with the flattening of a feature map")

    def _shape_of(self, value: _Value) -> Shape:
        return self.layers[value.tensor - 1].shape if value.tensor else self.input_shape

    def _source(self, node: fx.Node, argument: Any, *, is_flat: bool = False) -> _Value:
        """What ``argument`` stands for."""
        if not isinstance(argument, fx.Node) or argument not in self.known:
            raise UnsupportedError(f"{node.name}: must take what a layer has put out")
        value = self.known[argument]
        if value.is_flat and not is_flat:
            raise UnsupportedError(f"{node.name}: must not follow a flattening")
        return value

    def _constant(self, node: fx.Node, argument: Any) -> Tensor:
        if argument not in self.constants:
            raise UnsupportedError(f"{node.name}: must have weights that are parameters")
        return self.constants[argument][1].to(torch.float64)

    def _add(self, node: fx.Node, kind: type[Layer], sources: tuple[int, ...], **more: Any) -> None:
        parameter = more.pop("parameter", None)
        name = node.name
        if parameter is not None:
            name = self.constants[parameter][0].rpartition(".")[0] or name
        if any(layer.name == name for layer in self.layers):
            name = node.name
        shape = _channels_last(node.meta["val"])
        self.layers.append(_Node(name, kind, sources, shape, made_by=[node], **more))
        self.known[node] = _Value(len(self.layers))

    def _alone(self, argument: fx.Node) -> _Node | None:
        """The layer that makes ``argument``, if nothing else takes its tensor."""
        value = self.known[argument]
        layer = self.layers[value.tensor - 1] if value.tensor else None
        if layer is None or any(len(node.users) != 1 for node in layer.made_by):
            return None
        return layer

    def linear(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["input"], is_flat=True)
        weights = self._constant(node, a["weight"])
        if value.is_flat:
            height, wide, channels = self._shape_of(value)
            weights = weights.reshape(-1, channels, height, wide).movedim(1, 3).flatten(1)
        elif len(self._shape_of(value)) != 1:
            raise UnsupportedError(f"{node.name}: must follow a vector, or a flattening")
        self._add(
            node,
            FullyConnected,
            (value.tensor,),
            weights=weights,
            bias=self._bias(node, a["bias"], len(weights)),
            parameter=a["weight"],
        )

    def conv2d(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["input"])
        weights = self._constant(node, a["weight"])
        _check_dilation(node, a)
        kernel, padding = tuple(weights.shape[2:]), a["padding"]
        if padding == "same":
            before = [(side - 1) // 2 for side in kernel]
            behind = [side // 2 for side in kernel]
        else:
            before = behind = [0, 0] if padding == "valid" else _pair(padding)
        self._add(
            node,
            Convolution,
            (value.tensor,),
            fields={
                "kernel": kernel,
                "stride": tuple(_pair(a["stride"])),
                "padding": (*before, *behind),
                "groups": a["groups"],
            },
            weights=weights.movedim(1, 3).flatten(1),
            bias=self._bias(node, a["bias"], len(weights)),
            parameter=a["weight"],
        )

    def _bias(self, node: fx.Node, argument: Any, outputs: int) -> Tensor:
        if argument is None:
            return torch.zeros(outputs, dtype=torch.float64)
        return self._constant(node, argument)

    def batch_norm(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["input"])
        layer = self._alone(a["input"])
        if layer is None or layer.weights is None or layer.bias is None or layer.relu:
            raise UnsupportedError(
                f"{node.name}: batch normalisation must come right behind a layer with weights"
            )
        scale = 1 / (self._constant(node, a["running_var"]) + a["eps"]).sqrt()
        if a["weight"] is not None:
            scale = scale * self._constant(node, a["weight"])
        bias = (layer.bias - self._constant(node, a["running_mean"])) * scale
        layer.bias = bias + self._bias(node, a["bias"], len(bias))
        layer.weights = layer.weights * scale[:, None]
        self._same(node, value)

    def relu(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["self"], is_flat=True)
        layer = self._alone(a["self"])
        if layer is not None:
            layer.relu = True
            self._same(node, value)
        elif not value.is_flat and len(self._shape_of(value)) == 3:
            # A window of one activation makes a layer that does nothing else.
            self._add(node, MaxPooling, (value.tensor,), fields={"kernel": (1, 1)}, relu=True)
        else:
            raise UnsupportedError(
                f"{node.name}: must follow a layer whose result nothing else takes"
            )

    def max_pool2d(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["self"])
        _check_dilation(node, a)
        self._add(node, MaxPooling, (value.tensor,), fields=_window(a))

    def avg_pool2d(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["self"])
        if a["divisor_override"] is not None:
            raise UnsupportedError(f"{node.name}: must not have a divisor of its own")
        fields = {**_window(a), "count_padding": a["count_include_pad"]}
        self._add(node, AveragePooling, (value.tensor,), fields=fields)

    def adaptive_avg_pool2d(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["self"])
        sides = self._shape_of(value)[:2]
        counts = _pair(a["output_size"])
        if any(side % count for side, count in zip(sides, counts, strict=True)):
            raise UnsupportedError(f"{node.name}: must divide {sides} evenly, not by {counts}")
        kernel = tuple(side // count for side, count in zip(sides, counts, strict=True))
        fields = {"kernel": kernel, "stride": kernel}
        self._add(node, AveragePooling, (value.tensor,), fields=fields)

    def add(self, node: fx.Node, a: dict[str, Any]) -> None:
        first, second = self._source(node, a["self"]), self._source(node, a["other"])
        if a["alpha"] != 1 or self._shape_of(first) != self._shape_of(second):
            raise UnsupportedError(f"{node.name}: must add two tensors of the same shape")
        self._add(node, Addition, (first.tensor, second.tensor))

    def cat(self, node: fx.Node, a: dict[str, Any]) -> None:
        sources = [self._source(node, one) for one in a["tensors"]]
        if a["dim"] not in (1, 1 - node.meta["val"].dim()):
            raise UnsupportedError(f"{node.name}: must join channels, not dimension {a['dim']}")
        self._add(node, Concatenation, tuple(one.tensor for one in sources))

    def flatten(self, node: fx.Node, a: dict[str, Any]) -> None:
        value = self._source(node, a["self"], is_flat=True)
        found, source = node.meta["val"], a["self"].meta["val"]
        if found.shape == source.shape:
            self._same(node, value)
            return
        if len(found) != len(source) or found.dim() != 2:
            raise UnsupportedError(f"{node.name}: must flatten all but the batch")
        self._same(node, _Value(value.tensor, is_flat=True))

    def dropout(self, node: fx.Node, a: dict[str, Any]) -> None:
        self._same(node, self._source(node, a["input"], is_flat=True))

    def _same(self, node: fx.Node, value: _Value) -> None:
        """``node`` is the tensor ``value`` too, or makes it what it is from now on."""
        self.known[node] = value
        if value.tensor:
            self.layers[value.tensor - 1].made_by.append(node)


_CALLS: dict[str, Callable[[_Capture, fx.Node, dict[str, Any]], None]] = {
    "linear": _Capture.linear,
    "conv2d": _Capture.conv2d,
    "batch_norm": _Capture.batch_norm,
    "relu": _Capture.relu,
    "max_pool2d": _Capture.max_pool2d,
    "avg_pool2d": _Capture.avg_pool2d,
    "adaptive_avg_pool2d": _Capture.adaptive_avg_pool2d,
    "add": _Capture.add,
    "cat": _Capture.cat,
    "flatten": _Capture.flatten,
    "view": _Capture.flatten,
    "reshape": _Capture.flatten,
    "dropout": _Capture.dropout,
}


class _Quantiser:
    """Layers in fixed point from layers in real numbers."""

    def __init__(
        self,
        graph: _Capture,
        bits: int | Mapping[str, int],
        activation_width: int,
        weight_width: int,
        accumulator_width: int,
    ) -> None:
        self.graph = graph
        self.width = activation_width
        self.weight_width = weight_width
        self.accumulator_width = accumulator_width
        self.shared = [
            None
            if layer.weights is None
            else _share(layer.weights, bits if isinstance(bits, int) else bits[layer.name])
            for layer in graph.layers
        ]
        self.group = _groups(graph.layers)
        tensors = graph.tensors()
        self.radixes = {}
        for head in set(self.group):
            members = [k for k, own in enumerate(self.group) if own == head]
            values = torch.cat([tensors[k].flatten() for k in members])
            radixes = range(activation_width) if 0 in members else _RADIXES
            if members == [len(tensors) - 1]:
                radixes = _with_room(radixes, float(values.abs().max()), activation_width)
            self.radixes[head] = activation_radix(values, activation_width, radixes)

    def network(self, name: str) -> Network:
        layers: list[Layer] = []
        while len(layers) < len(self.graph.layers):
            index = len(layers)
            head = self.group[index + 1]
            layer = self._layer(index)
            layers.append(layer)
            if layer.output_radix < self.radixes[head]:
                # It has no more fraction bits, so those that share its radix point have none.
                self.radixes[head] = layer.output_radix
                layers.clear()
        return Network(
            name=name,
            layers=tuple(layers),
            activation_width=self.width,
            input_radix=self._radix(0),
            input_shape=self.graph.input_shape,
            sources=tuple(layer.sources for layer in self.graph.layers),
        )

    def _radix(self, tensor: int) -> int:
        return self.radixes[self.group[tensor]]

    def _layer(self, index: int) -> Layer:
        layer, radix = self.graph.layers[index], self._radix(index + 1)
        activation = "relu" if layer.relu else "none"
        own = [self._radix(k) for k in layer.sources]
        shared = self.shared[index]
        if shared is not None:
            assert issubclass(layer.kind, Weighted)
            assert layer.bias is not None
            codes, codebook = shared
            return to_layer(
                layer.name,
                codes.numpy().astype("uint8"),
                codebook.numpy(),
                layer.bias.numpy(),
                activation=activation,
                input_radix=own[0],
                output_radix=radix,
                activation_width=self.width,
                weight_width=self.weight_width,
                accumulator_width=self.accumulator_width,
                kind=layer.kind,
                **layer.fields,
            )
        fields = {"name": layer.name, "activation": activation, **layer.fields}
        if issubclass(layer.kind, AveragePooling):
            return self._average(fields, own[0], radix)
        return layer.kind(output_radix=min(radix, max(own)), **fields)

    def _average(self, fields: dict[str, Any], input_radix: int, radix: int) -> AveragePooling:
        """The mean with the finest reciprocals that the accumulator has room for."""
        area = math.prod(fields["kernel"])
        for weight_radix in range(31, (area - 1).bit_length() - 1, -1):
            output_radix = min(radix, input_radix + weight_radix)
            layer = AveragePooling(output_radix=output_radix, weight_radix=weight_radix, **fields)
            if layer.accumulator_bits(self.width) <= self.accumulator_width:
                return layer
        raise FitError(
            f"layer {fields['name']!r} fits no accumulator of {self.accumulator_width} bits"
        )


def _with_room(radixes: range, greatest: float, width: int) -> range:
    """Those of ``radixes`` at which twice the ``greatest`` value fits, or else the least.

    What a network puts out is compared: of two scores that saturate, neither is the greater. There
    will be inputs with greater scores than those of calibration.
    """
    fit = [radix for radix in radixes if greatest * 2.0 ** (radix + 1) <= 2 ** (width - 1) - 1]
    return radixes[: max(1, len(fit))]


def _groups(layers: list[_Node]) -> list[int]:
    """For each tensor, the first of those that must have its radix point.

    Those are what a concatenation joins and makes, and what goes into and comes out of a maximum,
    which has no use for other fraction bits.
    """
    group = list(range(len(layers) + 1))
    for index, layer in enumerate(layers):
        if layer.kind in (Concatenation, MaxPooling):
            joined = {group[k] for k in (*layer.sources, index + 1)}
            group = [min(joined) if own in joined else own for own in group]
    return group


def _share(weights: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes and codebook; see :func:`golden.compress.share.share`.

    Weights that are shared already, by no more values than there are codes, stay what they are.
    """
    weights = weights.float()
    mask = weights != 0
    values, labels = weights[mask].unique(return_inverse=True)
    if len(values) >= 2**bits:
        return share(weights, mask, bits)
    codes = torch.zeros(weights.shape, dtype=torch.int64)
    codes[mask] = labels + 1
    codebook = torch.zeros(2**bits)
    codebook[1 : len(values) + 1] = values
    return codes, codebook


def _values(graph: fx.GraphModule, arguments: list[Tensor]) -> dict[str, Tensor]:
    """What each node of a graph makes of the arguments."""
    found: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            # What comes after may change it in place.
            found[n.name] = result.clone() if isinstance(result, Tensor) else result
            return result

    with torch.no_grad():
        Recorder(graph).run(*arguments)
    return found


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments of a call by name, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    named = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    names = [one.name for one in schema.arguments]
    return {**named, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _check_dilation(node: fx.Node, a: dict[str, Any]) -> None:
    if set(a["dilation"]) != {1}:
        raise UnsupportedError(f"{node.name}: must have a dilation of 1, not {a['dilation']}")


def _window(a: dict[str, Any]) -> dict[str, Any]:
    padding = _pair(a["padding"])
    kernel = _pair(a["kernel_size"])
    return {
        "kernel": tuple(kernel),
        "stride": tuple(_pair(a["stride"]) if a["stride"] else kernel),
        "padding": (*padding, *padding),
        "ceil_mode": a["ceil_mode"],
    }


def _pair(sizes: Any) -> list[int]:
    """PyTorch takes one number for two that are the same."""
    numbers = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    return numbers * 2 if len(numbers) == 1 else numbers


def _channels_last(tensor: Tensor) -> Shape:
    """Shape of a tensor of PyTorch without the batch."""
    shape = tuple(tensor.shape[1:])
    if len(shape) not in (1, 3):
        raise UnsupportedError(f"tensors must be vectors or feature maps, not of shape {shape}")
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
