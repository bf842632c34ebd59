"""In which order columns are scanned."""

import numpy as np

__all__ = ["spread"]

_GOLDEN = (5**0.5 - 1) / 2


def spread(weights: np.ndarray, *, teams: int = 1, width: int = 1) -> np.ndarray:
    """Places of columns, such that heavy and light ones come by turns.

    A queue evens out what comes close together. In the order of a picture, say, nothing comes from
    its margin for a long time, and then more than the elements can take. The n-th place goes to the
    column that has as large a share of the others above it as is left of n times the golden ratio;
    so no stretch of places has much more than its share of heavy columns, nor has any second,
    third or fourth one (Weyl's sequence). The heaviest column comes first.

    If places belong to teams, columns are dealt out to these before, the heaviest first and turning
    round after each deal, so that their totals hardly differ.

    Parameters
    ----------
    weights : ndarray of int, ``(columns,)``
        Non-zeros of each column.
    teams : int
        Teams that have ``width`` places in turn.
    width : int
        Places that a team has at a time.

    Returns
    -------
    ndarray of int64, ``(columns,)``

    Examples
    --------
    >>> spread(np.array([9, 8, 7, 6, 5, 4, 3, 2]))
    array([0, 5, 2, 7, 4, 1, 6, 3])
    """
    team = np.arange(len(weights)) // width % teams
    own = [np.flatnonzero(team == one) for one in range(teams)]
    rank = np.empty(len(weights), np.int64)
    for mine in own:
        rank[mine] = np.arange(len(mine))
    dealt = team[np.lexsort((np.where(rank % 2, -team, team), rank))]

    places = np.empty(len(weights), np.int64)
    heaviest_first = np.argsort(-weights, kind="stable")
    for one, mine in enumerate(own):
        order = np.argsort(np.arange(len(mine)) * _GOLDEN % 1)
        places[heaviest_first[dealt == one]] = mine[order]
    return places
