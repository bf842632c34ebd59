"""``prunus golden``: a compressed network on the golden model."""

import io
from pathlib import Path
from typing import Any

import click

from cli.inputs import Options, accuracy, input_options, read_inputs
from cli.output import Output, check_apart, check_target, percent
from cli.runs import answer_golden, run_golden
from cli.verb import FILE, IMAGE, verb
from golden.errors import MismatchError
from golden.files import write_whole

__all__ = ["command"]


@verb(
    examples=[
        "prunus golden digits.prunus --dataset digits",
        "prunus golden digits.prunus --input x.npy -o y.npy",
        "prunus golden digits.prunus --input x.npy --layers layers.npz",
    ],
    codes={1: "the known answers in the image are not the golden model's", 3: "torch is missing"},
)
@IMAGE
@input_options
@click.option("-o", "--output", "answers", type=FILE, metavar="FILE.npy", help="Write the outputs.")
@click.option(
    "--layers",
    "intermediates",
    type=FILE,
    metavar="FILE.npz",
    help="Write accumulators and outputs of all layers.",
)
def command(
    output: Output,
    image: Path,
    inputs: Options,
    answers: Path | None,
    intermediates: Path | None,
) -> None:
    """Run a compressed network on the golden model.

    The golden model is the definition of right: plain PyTorch on integers. Every other machine has
    to give the same bits. Vectors are flat; those of feature maps go row by row, channels last.
    Without a source of vectors it takes the known answers in IMAGE, and
    checks them, or else random vectors.
    """
    import numpy as np

    from golden.image import digest, load

    for path in answers, intermediates:
        if path is not None:
            check_target(path)
    check_apart([answers, intermediates], [image, inputs["input_file"]])
    network = load(image)
    given = read_inputs(network, inputs)
    layers = []
    if intermediates is None:
        outputs = answer_golden(network, given.vectors, output)
    else:
        layers = run_golden(network, given.vectors, output)
        outputs = layers[-1].outputs
    contents: dict[Path, bytes | str] = {}
    if answers is not None:
        buffer = io.BytesIO()
        np.save(buffer, outputs)
        contents[answers] = buffer.getvalue()
    if intermediates is not None:
        arrays = {"inputs": given.vectors}
        for layer, shape, found in zip(network.layers, network.shapes[1:], layers, strict=True):
            for part, array in found._asdict().items():
                arrays[f"{layer.name}.{part}"] = array.reshape(-1, *shape)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        contents[intermediates] = buffer.getvalue()
    write_whole(contents)
    if given.answers is not None and not np.array_equal(given.answers, outputs):
        vector, row = np.argwhere(given.answers != outputs)[0]
        raise MismatchError(
            f"known answer {vector}, output {row}: the image says {given.answers[vector, row]}, "
            f"the golden model {outputs[vector, row]}"
        )
    right = accuracy(outputs, given.labels)
    document: dict[str, Any] = {
        "image": image,
        "digest": digest(network),
        "inputs": {"source": given.source, "vectors": len(given)},
        "classes": outputs.argmax(axis=1),
        "accuracy": right,
        "known_answers_checked": 0 if given.answers is None else len(given),
        "output": answers,
        "layers": intermediates,
    }
    if output.emit(document):
        return
    output.say(f"{len(given)} vectors: {given.source}")
    if right is not None:
        output.say(f"accuracy {percent(right)}")
    if given.answers is not None:
        output.say("all known answers are right")
    if answers is None:
        output.table(
            "First answers",
            ["vector", "class", "outputs"],
            [(n, int(x.argmax()), ", ".join(map(str, x))) for n, x in enumerate(outputs[:10])],
        )
    for path in answers, intermediates:
        if path is not None:
            output.say(f"wrote {path}")
