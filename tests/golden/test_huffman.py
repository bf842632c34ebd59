from functools import cache
from itertools import product

import numpy as np
import pytest
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman
from hypothesis import example, given
from hypothesis import strategies as st

from golden.huffman import LIMIT, decode, encode, lengths

counts_of_symbols = st.lists(
    st.one_of(st.just(0), st.integers(1, 20), st.integers(1, 10**6)), min_size=1, max_size=40
)


def uint8(values):
    return np.array(values, np.uint8)


def cost(counts, sizes):
    return int(np.dot(counts, sizes.astype(np.int64)))


def least_cost(counts, limit):
    """Bits of the shortest stream, by trying at each depth of the tree all numbers of leaves."""
    weights = sorted((x for x in counts if x), reverse=True)

    @cache
    def rest(done, depth, nodes):
        if done == len(weights):
            return 0
        if depth == limit or nodes == 0:
            return float("inf")
        # What is no leaf yet pays for one more bit, and its nodes split in two.
        return sum(weights[done:]) + min(
            rest(done + leaves, depth + 1, min(2 * (nodes - leaves), 2 * len(weights)))
            for leaves in range(min(nodes, len(weights) - done) + 1)
        )

    def from_root():
        return sum(weights) + min(
            rest(leaves, 1, 2 * (2 - leaves)) for leaves in range(min(2, len(weights)) + 1)
        )

    return from_root() if weights else 0


def code_words(sizes):
    """Canonical code words as strings, counted up one by one as RFC 1951 says."""
    words = {}
    word = 0
    for size in range(1, 16):
        for symbol, own in enumerate(sizes):
            if own == size:
                words[symbol] = f"{word:0{size}b}"
                word += 1
        word <<= 1
    return words


def plain_encode(symbols, sizes):
    words = code_words(sizes)
    return bitarray("".join(words[x] for x in symbols)).tobytes()


def bitarray_decode(data, sizes, count):
    """Decoded by the bitarray package."""
    numbers = [sum(own == size for own in sizes) for size in range(LIMIT + 1)]
    numbers[0] = 0
    words = code_words(sizes)
    order = sorted(words, key=lambda symbol: (len(words[symbol]), symbol))
    bits = bitarray()
    bits.frombytes(data)
    decoder = canonical_decode(bits, numbers, order)
    return [next(decoder) for _ in range(count)]


@given(counts_of_symbols, st.integers(6, LIMIT))
@example([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597], LIMIT)
@example([1] * 32, 6)
def test_lengths_are_optimal(counts, limit):
    sizes = lengths(np.array(counts), limit)
    used = [int(x) for x in sizes if x]
    assert [x > 0 for x in counts] == [x > 0 for x in sizes]
    assert all(x <= limit for x in used)
    # The words exist, and none could be shorter: Kraft's sum is 1, or the word is alone.
    assert sum(2 ** (limit - x) for x in used) == 2**limit or used in ([], [1])
    assert cost(counts, sizes) == least_cost(counts, limit)


@pytest.mark.parametrize("limit", [2, 3, 4])
@given(data=st.data())
def test_lengths_match_brute_force(limit, data):
    counts = data.draw(st.lists(st.integers(1, 50), min_size=2, max_size=min(5, 2**limit)))
    best = min(
        sum(count * size for count, size in zip(counts, sizes, strict=True))
        for sizes in product(range(1, limit + 1), repeat=len(counts))
        if sum(2 ** (limit - size) for size in sizes) <= 2**limit
    )
    assert cost(counts, lengths(np.array(counts), limit)) == best


@given(counts_of_symbols)
def test_lengths_match_bitarray_where_the_limit_does_not_bind(counts):
    words, numbers, _ = canonical_huffman({i: x for i, x in enumerate(counts) if x} or {0: 1})
    if len(numbers) > LIMIT + 1 or not any(counts):
        return
    expected = sum(counts[symbol] * len(word) for symbol, word in words.items())
    assert cost(counts, lengths(np.array(counts))) == expected


def test_limit_binds():
    """With counts after Fibonacci, unbounded words would have up to 19 bits."""
    counts = [1, 1]
    while len(counts) < 20:
        counts.append(counts[-1] + counts[-2])
    sizes = lengths(np.array(counts))
    assert sizes.max() == LIMIT
    assert cost(counts, sizes) == least_cost(counts, LIMIT)
    assert cost(counts, sizes) > least_cost(counts, 19)


def test_full_alphabet():
    assert lengths(np.ones(256, np.int64), 8).tolist() == [8] * 256
    assert lengths(np.arange(1, 2**LIMIT + 1)).tolist() == [LIMIT] * 2**LIMIT


@st.composite
def streams(draw):
    """Symbols, of a skewed or even distribution, and lengths for them (and, maybe, others)."""
    alphabet = draw(st.integers(1, 64))
    spread = draw(st.sampled_from([1.5, 4.0, 1000.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    symbols = (alphabet * rng.random(draw(st.integers(0, 300))) ** spread).astype(np.int64)
    counts = np.bincount(symbols, minlength=alphabet)
    return symbols, lengths(counts + draw(st.integers(0, 1)))


@given(streams())
def test_stream_matches_oracles(stream):
    symbols, sizes = stream
    data = encode(symbols, sizes)
    assert data == plain_encode(symbols, sizes)
    assert bitarray_decode(data, sizes, len(symbols)) == symbols.tolist()
    decoded = decode(data, sizes, len(symbols))
    assert decoded.dtype == np.uint16
    assert decoded.tolist() == symbols.tolist()


@pytest.mark.parametrize("alphabet", [2, 3, 256, 4096])
def test_long_stream(alphabet):
    """Many chunks, with words of 1 bit, of 12, and of all lengths between them."""
    rng = np.random.default_rng(alphabet)
    symbols = np.minimum(rng.geometric(min(0.5, 8 / alphabet), 100_000) - 1, alphabet - 1)
    sizes = lengths(np.bincount(symbols, minlength=alphabet) + (alphabet == 4096))
    data = encode(symbols, sizes)
    assert bitarray_decode(data, sizes, len(symbols)) == symbols.tolist()
    assert (decode(data, sizes, len(symbols)) == symbols).all()


@pytest.mark.parametrize("count", range(6))
def test_longest_words_only(count):
    symbols = np.arange(count) * 800 + 95
    sizes = uint8([12] * 4096)
    data = encode(symbols, sizes)
    assert data.hex() == "".join(f"{x:03x}" for x in symbols) + "0" * (count % 2)
    assert decode(data, sizes, count).tolist() == symbols.tolist()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100_000])
def test_one_symbol(count):
    sizes = lengths(np.array([0, 0, count]))
    assert sizes.tolist() == [0, 0, 1]
    data = encode(np.full(count, 2), sizes)
    assert data == bytes((count + 7) // 8)
    assert decode(data, sizes, count).tolist() == [2] * count


def test_nothing():
    assert lengths(np.array([], np.int64)).tolist() == []
    assert lengths(np.zeros(4, np.int64)).tolist() == [0] * 4
    assert encode(np.array([], np.int64), uint8([0, 0])) == b""
    assert decode(b"", uint8([0, 0]), 0).tolist() == []
    assert decode(b"", uint8([]), 0).tolist() == []
    assert decode(b"", uint8([1, 1]), 0).tolist() == []


@given(streams(), st.data())
def test_cut_or_lengthened_stream_is_refused(stream, data):
    symbols, sizes = stream
    whole = encode(symbols, sizes)
    cut = data.draw(st.integers(0, max(0, len(whole) - 1)))
    if whole:
        with pytest.raises(ValueError, match=r"^data must "):
            decode(whole[:cut], sizes, len(symbols))
    with pytest.raises(ValueError, match=r"^data must "):
        decode(whole + b"\0", sizes, len(symbols))


@pytest.mark.parametrize(
    ("data", "sizes", "count", "message"),
    [
        # Words 0, 10, 11.
        ("58", [1, 2, 2], 2, r"data must end with its last word, filled up with zeros"),
        ("5900", [1, 2, 2], 4, r"data must end with its last word, filled up with zeros"),
        ("ff", [1, 2, 2], 5, r"data must hold 5 symbols, but ends after 4"),
        ("fe", [1, 1, 0], 9, r"data must hold 9 symbols, not 8 bits"),
        ("000000000000", [1, 2, 2], 3, r"data must hold 3 symbols, not 48 bits"),
        ("", [1, 2, 2], 1, r"data must hold 1 symbols, not 0 bits"),
        ("00", [1, 2, 2], 0, r"data must hold 0 symbols, not 8 bits"),
        # Words 000 to 111, of which the last would need one bit more.
        ("ffff", [3] * 8, 6, r"data must not end 2 bits before its last word does"),
        ("00", [0, 0, 0], 4, r"lengths must give 4 symbols a word, but there is none"),
        ("10", [0, 1, 0], 8, r"data must be zeros, for the one symbol there is"),
        ("0000", [0, 1, 0], 8, r"data must end with its last word, filled up with zeros"),
    ],
)
def test_decode_wrong_data(data, sizes, count, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        decode(bytes.fromhex(data), uint8(sizes), count)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1, 1, 1], r"lengths must use up the 4096 words of 12 bits, not 6144 of them"),
        ([1, 2, 2, 12], r"lengths must use up the 4096 words of 12 bits, not 4097 of them"),
        ([1, 2], r"lengths must use up the 4096 words of 12 bits, not 3072 of them"),
        ([2, 0], r"lengths must use up the 4096 words of 12 bits, not 1024 of them"),
        ([1, 2, 3, 13], r"lengths must be at most 12, not 13"),
        ([255], r"lengths must be at most 12, not 255"),
    ],
)
def test_wrong_lengths(sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        decode(b"\0", uint8(sizes), 1)
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode(np.array([0]), uint8(sizes))


@pytest.mark.parametrize("sizes", [np.array([1, 1]), uint8([[1, 1]])])
def test_lengths_type_wrong(sizes):
    with pytest.raises(TypeError, match=r"^lengths must be a vector of uint8$"):
        decode(b"\0", sizes, 1)


@pytest.mark.parametrize("counts", [np.array([1, -1]), np.array([1.0, 2.0]), np.ones((2, 2), int)])
def test_counts_wrong(counts):
    with pytest.raises(TypeError, match=r"^counts must be a vector of non-negative integers$"):
        lengths(counts)


@pytest.mark.parametrize("limit", [0, 13, 4.0])
def test_limit_wrong(limit):
    with pytest.raises(TypeError, match=r"^limit must be an integer from 1 to 12, not "):
        lengths(np.array([1, 1]), limit)


def test_too_many_symbols():
    with pytest.raises(ValueError, match=r"^limit must leave a word to each of 5 symbols, not 2$"):
        lengths(np.ones(5, np.int64), 2)


@pytest.mark.parametrize("count", [-1, 1.0])
def test_count_wrong(count):
    with pytest.raises(TypeError, match=r"^count must be a non-negative integer, not "):
        decode(b"\0", uint8([1, 1]), count)


@pytest.mark.parametrize("symbols", [np.array([0.0]), np.array([[0]])])
def test_symbols_type_wrong(symbols):
    with pytest.raises(TypeError, match=r"^symbols must be a vector of integers$"):
        encode(symbols, uint8([1, 1]))


@pytest.mark.parametrize("symbol", [-1, 3])
def test_symbol_outside_alphabet(symbol):
    with pytest.raises(ValueError, match=r"^symbols must lie within 0 to 2$"):
        encode(np.array([0, symbol]), uint8([1, 0, 1]))


def test_symbol_without_word():
    with pytest.raises(ValueError, match=r"^symbols must have a code word, which 1 has not$"):
        encode(np.array([0, 1]), uint8([1, 0, 1]))
