"""Canonical Huffman codes of bounded length, for streams that hardware can decode too.

A code is given by the length of each symbol's code word alone. The words follow from the lengths
as in RFC 1951, section 3.2.2: shorter words come first, words of one length ascend with their
symbols, each a binary number written from its most significant bit. A stream is the words of
its symbols one after the other, first bit in the most significant bit of the first byte, and zeros
up to the end of the last byte.
"""

import numpy as np

__all__ = ["LIMIT", "decode", "encode", "lengths"]

# Bits of the longest code word. 4 bits hold a length, a table of 4096 entries decodes a word, and
# against unbounded words the streams of an image grow by less than 0.1 %.
LIMIT = 12

# Bits that are decoded at once: all arrays that takes stay in the cache.
_CHUNK = 2**14


def lengths(counts: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Lengths of the code words that make the shortest stream.

    This is the package-merge algorithm: L. L. Larmore and D. S. Hirschberg, "A fast algorithm for
    optimal length-limited Huffman codes", Journal of the ACM 37(3), 1990.

    Parameters
    ----------
    counts : ndarray of an integer dtype, ``(symbols,)``
        How often each symbol occurs.
    limit : int
        Bits of the longest code word allowed, 1 to 12.

    Returns
    -------
    ndarray of uint8, ``(symbols,)``
        Bits of each symbol's code word; 0 for a symbol that does not occur. A symbol that is
        alone has a word of one bit.

    Raises
    ------
    TypeError
        If ``counts`` is no vector of non-negative integers, or ``limit`` is out of range.
    ValueError
        If there are more symbols than words of ``limit`` bits.

    Examples
    --------
    >>> lengths(np.array([8, 0, 4, 2, 1, 1]))
    array([1, 0, 2, 3, 4, 4], dtype=uint8)
    >>> lengths(np.array([8, 0, 4, 2, 1, 1]), limit=3)
    array([1, 0, 3, 3, 3, 3], dtype=uint8)
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise TypeError("counts must be a vector of non-negative integers")
    if not isinstance(limit, int) or not 1 <= limit <= LIMIT:
        raise TypeError(f"limit must be an integer from 1 to {LIMIT}, not {limit!r}")
    used = np.flatnonzero(counts)
    used = used[np.argsort(counts[used], kind="stable")]
    if len(used) > 2**limit:
        raise ValueError(f"limit must leave a word to each of {len(used)} symbols, not {limit!r}")
    result = np.zeros(len(counts), np.uint8)
    if len(used) < 2:
        result[used] = 1
        return result

    # A row of `members` says how often each symbol is in a package. Each round pairs up the
    # packages of the round before and merges the pairs with the symbols, the lightest first.
    leaves, identity = counts[used].astype(np.int64), np.eye(len(used), dtype=np.uint8)
    weights, members = leaves, identity
    for _ in range(limit - 1):
        paired = len(weights) // 2 * 2
        weights = np.concatenate([leaves, weights[0:paired:2] + weights[1:paired:2]])
        members = np.concatenate([identity, members[0:paired:2] + members[1:paired:2]])
        order = np.argsort(weights, kind="stable")
        weights, members = weights[order], members[order]
    result[used] = members[: 2 * len(used) - 2].sum(axis=0)
    return result


def encode(symbols: np.ndarray, lengths: np.ndarray) -> bytes:
    """The stream of ``symbols``.

    Parameters
    ----------
    symbols : ndarray of an integer dtype, ``(n,)``
        Symbols, each with a code word.
    lengths : ndarray of uint8, ``(alphabet,)``
        Bits of each symbol's code word, 0 for none, as :func:`lengths` returns them.

    Returns
    -------
    bytes
        The stream, padded with zeros to whole bytes.

    Raises
    ------
    ValueError
        If the lengths make no code, or a symbol has no word.

    Examples
    --------
    >>> encode(np.array([0, 2, 3]), np.array([1, 0, 2, 2], dtype=np.uint8)).hex()
    '58'
    """
    order = _order(lengths)
    symbols = np.asarray(symbols)
    if symbols.ndim != 1 or symbols.dtype.kind not in "iu":
        raise TypeError("symbols must be a vector of integers")
    if len(symbols) == 0:
        return b""
    if int(symbols.min()) < 0 or int(symbols.max()) >= len(lengths):
        raise ValueError(f"symbols must lie within 0 to {len(lengths) - 1}")
    counts = np.bincount(symbols, minlength=len(lengths))
    lost = np.flatnonzero(counts * (lengths == 0))
    if len(lost):
        raise ValueError(f"symbols must have a code word, which {lost[0]} has not")
    # Words fill the space of 12 bits in their order: where one starts is its value, first bit on
    # top.
    spans = _spans(lengths[order])
    words = np.zeros(len(lengths), np.uint32)
    words[order] = np.cumsum(spans) - spans

    stream = np.zeros((int(counts @ lengths) + 7) // 8 + 2, np.uint8)
    position = 0
    for first in range(0, len(symbols), _CHUNK):
        part = symbols[first : first + _CHUNK]
        ends = position % 8 + np.cumsum(lengths[part], dtype=np.int64)
        starts = ends - lengths[part]
        # After up to 7 bits of others in its first byte, a word of 12 bits touches at most three.
        # Words share bytes but no bits, so adding them up joins them.
        placed = words[part] << (24 - LIMIT - starts % 8).astype(np.uint32)
        touched = stream[position // 8 :]
        for byte in range(3):
            joined = np.bincount(starts // 8 + byte, placed >> 8 * (2 - byte) & 255)
            touched[: len(joined)] += joined.astype(np.uint8)
        position += int(ends[-1]) - position % 8
    return stream[:-2].tobytes()


def decode(data: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` symbols of a stream.

    Parameters
    ----------
    data : bytes
        The whole stream, no byte more.
    lengths : ndarray of uint8, ``(alphabet,)``
        Bits of each symbol's code word, 0 for none.
    count : int
        Number of symbols.

    Returns
    -------
    ndarray of uint16, ``(count,)``
        The symbols.

    Raises
    ------
    ValueError
        If the lengths make no code, a word that has no symbol turns up, the stream is too short
        or too long, or what follows the last word is not zero.

    Examples
    --------
    >>> decode(bytes([0x58]), np.array([1, 0, 2, 2], dtype=np.uint8), 3)
    array([0, 2, 3], dtype=uint16)
    """
    if not isinstance(count, int) or count < 0:
        raise TypeError(f"count must be a non-negative integer, not {count!r}")
    order = _order(lengths)
    bits = 8 * len(data)
    if not count <= bits <= LIMIT * count + 7:
        raise ValueError(f"data must hold {count} symbols, not {bits} bits")
    if len(order) < 2:
        # The one word there may be is a zero.
        if count and not len(order):
            raise ValueError(f"lengths must give {count} symbols a word, but there is none")
        if data.count(0) != len(data):
            raise ValueError("data must be zeros, for the one symbol there is")
        _check_end(data, count)
        return np.full(count, order[0] if count else 0, np.uint16)

    # What any window of 12 bits starts with.
    spans = _spans(lengths[order])
    symbol_at = np.repeat(order.astype(np.uint16), spans)
    length_at = np.repeat(lengths[order], spans)
    # Zeros at the end let the last windows be read whole.
    stream = np.frombuffer(data + bytes(2), np.uint8)
    symbols = np.empty(count, np.uint16)
    done = position = 0
    while done < count:
        if position >= bits:
            raise ValueError(f"data must hold {count} symbols, but ends after {done}")
        windows = _windows(stream, position, min(position + _CHUNK, bits))
        path = _path(length_at[windows], count - done)
        found = windows[path]
        symbols[done : done + len(path)] = symbol_at[found]
        done += len(path)
        position += int(path[-1]) + int(length_at[found[-1]])
    _check_end(data, position)
    return symbols


def _order(lengths: np.ndarray) -> np.ndarray:
    """Symbols that have a word, in the order of their words; refuses what makes no code."""
    lengths = np.asarray(lengths)
    if lengths.dtype != np.uint8 or lengths.ndim != 1:
        raise TypeError("lengths must be a vector of uint8")
    if len(lengths) and int(lengths.max()) > LIMIT:
        raise ValueError(f"lengths must be at most {LIMIT}, not {int(lengths.max())}")
    order = np.argsort(lengths, kind="stable")[np.count_nonzero(lengths == 0) :]
    taken = int(_spans(lengths[order]).sum())
    # By Kraft's inequality the words fill the code exactly, neither clashing nor leaving a gap.
    # Only a word that is alone may: it is the bit 0.
    if len(order) and taken != 2**LIMIT and lengths[order].tolist() != [1]:
        raise ValueError(
            f"lengths must use up the {2**LIMIT} words of {LIMIT} bits, not {taken} of them"
        )
    return order


def _spans(sizes: np.ndarray) -> np.ndarray:
    """How many of the windows of 12 bits start with a word of ``sizes`` bits."""
    return 1 << (LIMIT - sizes.astype(np.intp))


def _check_end(data: bytes, position: int) -> None:
    """Refuses a stream whose last word does not end at bit ``position``."""
    spare = 8 * len(data) - position
    if spare < 0:
        raise ValueError(f"data must not end {-spare} bits before its last word does")
    if spare >= 8 or (spare and data[-1] & ((1 << spare) - 1)):
        raise ValueError("data must end with its last word, filled up with zeros to whole bytes")


def _windows(stream: np.ndarray, first: int, last: int) -> np.ndarray:
    """The 12 bits that follow each of the bit positions ``first`` up to ``last``."""
    start, stop = first >> 3, (last + 7) >> 3
    part = stream[start : stop + 2].astype(np.uint32)
    joined = part[:-2] << 16 | part[1:-1] << 8 | part[2:]
    shifts = np.arange(24 - LIMIT, 24 - LIMIT - 8, -1, dtype=np.uint32)
    windows = (joined[:, None] >> shifts).ravel() & np.uint32(2**LIMIT - 1)
    return windows[first & 7 : last - 8 * start].astype(np.intp)


def _path(steps: np.ndarray, most: int) -> np.ndarray:
    """Where up to ``most`` words start, the first at 0, if a word at ``i`` has ``steps[i]`` bits.

    By pointer doubling: whoever knows the first ``n`` starts, and where ``n`` words lead to from
    anywhere, knows the first ``2 * n`` starts.
    """
    end = len(steps)
    leads_to = np.minimum(np.arange(end + 1) + np.append(steps, 0), end)
    path = np.zeros(1, np.intp)
    while path[-1] < end and len(path) < most:
        path = np.concatenate([path, leads_to[path]])
        leads_to = leads_to[leads_to]
    return path[: min(most, int(np.searchsorted(path, end)))]
