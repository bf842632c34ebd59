"""Runs in an order that no sequencer has: everything may follow everything."""

import random

from hdl.sparse.run import Origin

__all__ = ["random_runs"]


def random_runs(layers: int, count: int) -> list[tuple[Origin, int]]:
    """Origins of ``count`` runs through a program of ``layers``, and the layer that each is of."""
    runs = [(Origin.FIRST, 0)]
    while len(runs) < count:
        layer = runs[-1][1]
        following = [(Origin.FIRST, 0), (Origin.SAME, layer)]
        if layer + 1 < layers:
            following += [(Origin.NEXT, layer + 1)] * 2
        runs.append(random.choice(following))
    return runs
