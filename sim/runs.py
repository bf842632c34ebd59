"""Runs in an order that no sequencer has: everything may follow everything."""

import random

from hdl.sparse.run import Origin

__all__ = ["random_runs"]


def random_runs(layers: int, count: int, *, stages: bool) -> list[tuple[Origin, int]]:
    """Origins of ``count`` runs through a program of ``layers``, and the layer that each is of.

    With ``stages``, any layer may be the first one of a stage.
    """
    first = 0
    runs = [(Origin.RESTART if stages else Origin.FIRST, 0)]
    while len(runs) < count:
        layer = runs[-1][1]
        following = [(Origin.FIRST, first), (Origin.SAME, layer)]
        if layer + 1 < layers:
            following += [(Origin.NEXT, layer + 1)] * 2
            following += [(Origin.ENTER, layer + 1)] * stages
        following += [(Origin.RESTART, 0)] * stages
        runs.append(random.choice(following))
        if runs[-1][0] in (Origin.ENTER, Origin.RESTART):
            first = runs[-1][1]
    return runs
