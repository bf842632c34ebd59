"""Checkpoints: one safetensors file per stage, its metadata saying how far the stage has come."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from golden.errors import DataError
from golden.files import write_whole

__all__ = ["Checkpoint", "read", "write"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A stage, finished or not.

    Attributes
    ----------
    key : str
        Digest of all that the stage depends on. Under another key it is of no use.
    epoch : int
        Epochs done.
    tensors : dict of str to Tensor
        Model and state of the optimiser.
    """

    key: str
    epoch: int
    tensors: dict[str, Tensor]


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: whole or, if anything interrupts, not at all.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    checkpoint : Checkpoint
        What to keep.
    """
    state = json.dumps({"key": checkpoint.key, "epoch": checkpoint.epoch}, sort_keys=True)
    write_whole({path: save(checkpoint.tensors, metadata={"prunus-checkpoint": state})})


def read(path: Path) -> Checkpoint | None:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
        Where it may be.

    Returns
    -------
    Checkpoint or None
        None if there is no such file.

    Raises
    ------
    DataError
        If the file is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state: Any = json.loads((file.metadata() or {}).get("prunus-checkpoint", "null"))
            if not _is_state(state):
                raise DataError(f"{path} is no checkpoint; remove it, or do not resume")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no checkpoint; remove it, or do not resume: {error}") from error
    return Checkpoint(state["key"], state["epoch"], tensors)


def _is_state(state: Any) -> bool:
    return (
        isinstance(state, dict)
        and isinstance(state.get("epoch"), int)
        and state["epoch"] >= 0
        and isinstance(state.get("key"), str)
        and re.fullmatch("[0-9a-f]{64}", state["key"]) is not None
    )
