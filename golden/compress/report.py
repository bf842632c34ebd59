"""What a compression tells while it runs, for whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Event", "Measure", "Report", "Stage", "silent"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A network at the border between two stages.

    Attributes
    ----------
    accuracy : float
        Share of the test inputs classified right, 0 to 1.
    validation : float or None
        The same for the training inputs held back. None if there are none.
    density : float
        Share of all weights that are kept, 0 to 1.
    bytes : int
        Size: of float32 weights and biases; once pruned, of float32 values with relative indices;
        once shared, of codes with relative indices; at last, of the image's file.
    """

    accuracy: float
    validation: float | None
    density: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A finished stage: its name, and the network before and after it."""

    name: str
    before: Measure
    after: Measure


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something worth showing.

    Attributes
    ----------
    kind : str
        ``"start"`` of a stage, ``"advance"`` by an epoch, ``"end"`` of a stage.
    stage : str
        ``"train"``, ``"prune"``, ``"share"``, ``"fine-tune"`` or ``"image"``.
    done : int
        Epochs done. A stage that is taken up again does not start from 0.
    total : int
        Epochs of the stage.
    loss : float or None
        Mean loss of the epoch, in nats; only with an advance.
    density : float
        Share of all weights that are kept, 0 to 1.
    measure : Measure or None
        The network before a start and after an end; None with an advance.
    """

    kind: Literal["start", "advance", "end"]
    stage: str
    done: int
    total: int
    density: float
    loss: float | None = None
    measure: Measure | None = None


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """The report of somebody who does not want to know."""
