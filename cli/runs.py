"""Running a network on the golden model and on the predictor, a handful of vectors at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from cli.output import Output
    from golden.image import Network
    from mapping import Plan

__all__ = [
    "Golden",
    "Predicted",
    "activations",
    "answer_golden",
    "predict_run",
    "run_golden",
    "run_judge",
]

# Vectors at a time. The predictor takes memory for each of them times elements times columns; with
# feature maps also times windows, so there it is activations at a time.
_GOLDEN = 1000
_PREDICTED = 100
_PREDICTED_ACTIVATIONS = 2**17


class Golden(NamedTuple):
    """What the golden model makes of a layer."""

    accumulators: "np.ndarray"
    """int64 ``(batch, outputs)``."""
    outputs: "np.ndarray"
    """int16 ``(batch, outputs)``."""


class Predicted(NamedTuple):
    """What the predictor says of a run; each is int64 ``(batch, layers)``.

    Of the layers that a device shows; see :attr:`mapping.Plan.shown`.
    """

    cycles: "np.ndarray"
    padding: "np.ndarray"
    """Cycles in which an element takes padding only, summed over the elements."""
    useful: "np.ndarray"
    """Products of two non-zeros."""
    busy: "np.ndarray"
    """Cycles in which an element takes a weight, int64 ``(batch, layers, elements)``."""


def run_golden(network: "Network", vectors: "np.ndarray", output: "Output") -> list[Golden]:
    """Every layer of ``network`` for ``vectors``, integers of shape ``(batch, inputs)``."""
    import numpy as np
    import torch

    from golden.network import batch_size, run

    parts = []
    with output.progress("golden model", len(vectors)) as advance:
        for first, last in _slices(len(vectors), min(_GOLDEN, batch_size(network))):
            results = run(network, torch.from_numpy(vectors[first:last].astype(np.int64)))
            parts.append([(sums.numpy(), outs.numpy().astype(np.int16)) for sums, outs in results])
            advance(last)
    layers = zip(*parts, strict=True)
    return [Golden(*map(np.concatenate, zip(*layer, strict=True))) for layer in layers]


def run_judge(network: "Network", vectors: "np.ndarray", output: "Output") -> "list[np.ndarray]":
    """Outputs of every layer by :mod:`golden.judge`, each int16 ``(batch, outputs)``."""
    import numpy as np
    import torch

    from golden.judge import run
    from golden.network import batch_size

    parts = []
    with output.progress("PyTorch", len(vectors)) as advance:
        for first, last in _slices(len(vectors), min(_GOLDEN, batch_size(network))):
            results = run(network, torch.from_numpy(vectors[first:last].astype(np.int64)))
            parts.append([outputs.numpy().astype(np.int16) for outputs in results])
            advance(last)
    return list(map(np.concatenate, zip(*parts, strict=True)))


def answer_golden(network: "Network", vectors: "np.ndarray", output: "Output") -> "np.ndarray":
    """What the last layer makes of ``vectors``, int16 ``(batch, outputs)``, in little memory."""
    import numpy as np
    import torch

    from golden.network import answers, batch_size

    parts = []
    with output.progress("golden model", len(vectors)) as advance:
        for first, last in _slices(len(vectors), min(_GOLDEN, batch_size(network))):
            found = answers(network, torch.from_numpy(vectors[first:last].astype(np.int64)))
            parts.append(found.numpy().astype(np.int16))
            advance(last)
    return np.concatenate(parts)


def activations(
    network: "Network", vectors: "np.ndarray", layers: list[Golden]
) -> "list[np.ndarray]":
    """What each layer takes first: ``vectors``, or what a layer before it puts out."""
    tensors = [vectors, *(layer.outputs for layer in layers)]
    return [tensors[sources[0]] for sources in network.sources]


def predict_run(
    plan: "Plan", vectors: "np.ndarray", layers: list[Golden], output: "Output"
) -> Predicted:
    """Cycles of ``plan`` for ``vectors``, of which the golden model has made ``layers``."""
    import numpy as np

    from mapping.cycles import predict, useful

    parts = []
    tensors = [vectors, *(one.outputs for one in layers)]
    inputs = activations(plan.network, vectors, layers)
    step = _PREDICTED
    if plan.stages:
        step = max(1, min(step, _PREDICTED_ACTIVATIONS // plan.network.activations))
    with output.progress("predicted cycles", len(vectors)) as advance:
        for first, last in _slices(len(vectors), step):
            if plan.stages:
                parts.append(_predict_stages(plan, [one[first:last] for one in tensors]))
            else:
                taken = [one[first:last] for one in inputs]
                found = predict(plan, taken)
                padding = found.padding.sum(axis=2)
                parts.append((found.cycles, padding, useful(plan, taken), found.busy))
            advance(last)
    return Predicted(*map(np.concatenate, zip(*parts, strict=True)))


def _predict_stages(plan: "Plan", tensors: "list[np.ndarray]") -> "tuple[np.ndarray, ...]":
    """The fields of :class:`Predicted` for as many vectors as ``tensors`` have."""
    import numpy as np

    from mapping.stages import predict_stages

    found = predict_stages(plan.stages, plan.network, plan.configuration, tensors)
    shape = len(tensors[0]), len(plan.shown), plan.configuration.elements
    cycles = np.zeros(shape[:2], np.int64)
    busy, padding = np.zeros((2, *shape), np.int64)
    for place, number in enumerate(plan.shown):
        cycles[:, place], done = found[number]
        if done is not None:
            busy[:, place] = done.busy.sum(axis=(1, 2))
            padding[:, place] = done.padding.sum(axis=(1, 2))
    # A product of two non-zeros keeps an element busy for a cycle.
    return cycles, padding.sum(axis=2), busy.sum(axis=2), busy


def _slices(total: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + step, total)) for first in range(0, total, step))
