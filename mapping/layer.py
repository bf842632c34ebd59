"""A layer laid out on a device."""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from golden.layers import Weighted
from hdl.configuration import Configuration
from mapping.entries import Entries, encode
from mapping.rows import assign

__all__ = ["LayerPlan", "Order", "lay_out"]


class Order(Enum):
    """What is asked of the positions of a layer's outputs."""

    FREE = auto()
    DENSE = auto()  # those without an output are behind the others, if possible
    KEPT = auto()  # they are in the order of the outputs


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """A layer laid out on a device. Made by :func:`lay_out`.

    The elements are in teams, each with all of the rows and its share of the columns. There is one
    team of all elements, or, if the layer is split, one for each way. If an element has more rows
    than its accumulators hold, the layer is in tiles, which are run one after another.
    """

    layer: Weighted
    inputs: np.ndarray
    """Position of each input in the vector that is scanned, int64 ``(inputs,)``."""
    columns: int
    """Length of the vector that is scanned, padding included."""
    outputs: np.ndarray
    """Position of each output in the vector that is drained, int64 ``(outputs,)``. Those of a tile
    come one after another."""
    positions: int
    """Length of the vector that is drained, padding included."""
    tiles: int
    """Tiles, all of which have as many positions."""
    teams: int
    """Teams of elements: 1, or as many as the device has ways."""
    team_columns: tuple[int, ...]
    """Columns that the elements of each team are told of, padding included."""
    rows: int
    """Rows of an element in a tile."""
    delta_width: int
    """Bits of an entry that are not its code."""
    entries: Entries
    """An element is told of its columns tile by tile."""

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def split(self) -> bool:
        return self.teams > 1

    @property
    def tile_positions(self) -> int:
        """Length of what is drained of a tile, padding included."""
        return self.positions // self.tiles

    @property
    def tile_totals(self) -> np.ndarray:
        """Entries of each tile and element, int64 ``(tiles, elements)``."""
        elements = len(self.entries.counts)
        return self.entries.counts.reshape(elements, self.tiles, -1).sum(axis=2).T

    def owners(self, row: int) -> tuple[list[int], int, int]:
        """Elements that add up ``row``, in which tile, and as which row of their own in that."""
        elements = len(self.entries.counts)
        members = elements // self.teams
        tile, place = divmod(int(self.outputs[row]), self.tile_positions)
        local, member = divmod(place, members)
        return list(range(member, elements, members)), tile, local

    @property
    def padding(self) -> int:
        """Entries that hold no weight."""
        return len(self.entries.values) - self.layer.nonzeros


def lay_out(
    layer: Weighted,
    configuration: Configuration,
    *,
    inputs: np.ndarray,
    columns: int,
    split: bool,
    following: np.ndarray | None = None,
    order: Order = Order.FREE,
) -> LayerPlan:
    """Lay ``layer`` out on a device, whether it is large enough or not.

    There are as few tiles as the rows of an element need. Rows go to tiles as they go to elements,
    by their non-zeros: those of each tile are work for all elements alike.

    Parameters
    ----------
    layer : Weighted
    configuration : Configuration
    inputs : ndarray of int64, ``(layer.inputs,)``
        Position of each input in the vector that is scanned.
    columns : int
        Length of that vector.
    split : bool
        Whether each way has columns, and not rows, of its own.
    following : ndarray of int, ``(layer.outputs,)``, optional
        As of :func:`~mapping.rows.assign`.
    order : Order
        What is asked of the positions of the outputs.
    """
    c = configuration
    teams = c.ways if split else 1
    members = c.elements // teams
    # Blocks are dealt to the teams in turn.
    tiles = -(-layer.outputs // (members * c.row_depth))
    shares = tiles * members
    rows = -(-layer.outputs // shares)
    if order is Order.KEPT:
        tile, place = np.divmod(np.arange(layer.outputs), rows * members)
        assigned = place // members * shares + tile * members + place % members
    else:
        assigned = assign(layer, shares, team=inputs // c.scan_width % teams, following=following)
    if order is Order.DENSE:
        assigned = _dense(assigned, shares)
    local, share = np.divmod(assigned, shares)
    tile, member = np.divmod(share, members)
    block, lane = np.divmod(inputs[layer.columns], c.scan_width)
    blocks = columns // c.scan_width
    team_columns = tuple(-(-(blocks - team) // teams) * c.scan_width for team in range(teams))
    delta_width = max(1, c.entry_width - layer.code_width)
    entries = encode(
        layer,
        row=local[layer.rows],
        element=block % teams * members + member[layer.rows],
        column=tile[layer.rows] * team_columns[0] + block // teams * c.scan_width + lane,
        shape=(c.elements, tiles * team_columns[0]),
        delta_width=delta_width,
    )
    return LayerPlan(
        layer=layer,
        inputs=inputs,
        columns=columns,
        outputs=(tile * rows + local) * members + member,
        positions=tiles * rows * members,
        tiles=tiles,
        teams=teams,
        team_columns=team_columns,
        rows=rows,
        delta_width=delta_width,
        entries=entries,
    )


def _dense(assigned: np.ndarray, shares: int) -> np.ndarray:
    """The same rows for each element, but those with more of them are the first elements."""
    local, share = np.divmod(assigned, shares)
    place = np.empty(shares, np.int64)
    place[np.argsort(-np.bincount(share, minlength=shares), kind="stable")] = np.arange(shares)
    return local * shares + place[share]
