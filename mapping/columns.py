"""In which order columns are scanned."""

import numpy as np

__all__ = ["spread"]

_GOLDEN = (5**0.5 - 1) / 2


def spread(weights: np.ndarray) -> np.ndarray:
    """Places of columns, such that heavy and light ones come by turns.

    A queue evens out what comes close together. In the order of a picture, say, nothing comes from
    its margin for a long time, and then more than the elements can take. The n-th place goes to the
    column that has as large a share of the others above it as is left of n times the golden ratio;
    so no stretch of places has much more than its share of heavy columns, nor has any second,
    third or fourth one (Weyl's sequence). The heaviest column comes first.

    Parameters
    ----------
    weights : ndarray of int, ``(columns,)``
        Non-zeros of each column.

    Returns
    -------
    ndarray of int64, ``(columns,)``

    Examples
    --------
    >>> spread(np.array([9, 8, 7, 6, 5, 4, 3, 2]))
    array([0, 5, 2, 7, 4, 1, 6, 3])
    """
    places = np.empty(len(weights), np.int64)
    heaviest_first = np.argsort(-weights, kind="stable")
    places[heaviest_first] = np.argsort(np.arange(len(weights)) * _GOLDEN % 1)
    return places
