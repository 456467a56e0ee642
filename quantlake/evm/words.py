"""Words of 32 bytes and quantities, as hex text, in whole columns: exact decimal text, addresses, normalised amounts.

Here: columns to columns. Not here: the loops (word_kernel.py), what an event's words mean. A word is 64 hex digits, of either case; integers
are big-endian, signed ones in two's complement (https://docs.soliditylang.org/en/latest/abi-spec.html).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from quantlake.evm import word_kernel
from quantlake.evm.word_kernel import Bytes, Ints

DIGITS = word_kernel.DIGITS  # of a word
_ZERO, _X = ord("0"), ord("x")


@dataclass(frozen=True)
class Digits:
    """Hex digits of a row each: the bytes of all texts, and where the row's own begin and end; a negative start: it has none."""

    text: Bytes
    starts: Ints
    ends: Ints

    def word(self, place: int) -> "Digits":
        """Of each row its word at a place, from 0; none where it does not reach so far."""
        starts = np.where(self.starts < 0, -1, self.starts + DIGITS * place)
        whole = starts + DIGITS <= self.ends
        return Digits(self.text, np.where(whole, starts, -1), starts + DIGITS)

    def only(self) -> "Digits":
        """Of each row the word that it is; none where it is another number of digits."""
        return Digits(self.text, np.where(self.ends - self.starts == DIGITS, self.starts, -1), self.ends)


def digits(texts: pl.Series) -> Digits:
    """What follows ``0x`` in each text; none where the text is null or does not begin so."""
    offsets, text = _buffers(texts.to_arrow(compat_level=pl.CompatLevel.oldest()))
    starts, ends = offsets[:-1], offsets[1:]
    first = np.where(ends - starts >= 2, starts, 0)
    there = (ends - starts >= 2) & (text[first] == _ZERO) & (text[first + 1] == _X)
    return Digits(text, np.where(there, starts + 2, -1), ends)


def integers(of: Digits, bits: int = 256, *, signed: bool = False) -> pl.Series:
    """Whole numbers as decimal text, 1 to 64 digits each; null where there are none, or the number is not one of ``bits`` bits (of a
    signed one, 64 digits of two's complement)."""
    return _texts(*word_kernel.integers(of.text, of.starts, of.ends, bits, signed))


def differences(left: Digits, right: Digits) -> pl.Series:
    """Unsigned numbers less others, as decimal text; null where there is none of either, or the difference is no signed number of 256 bits."""
    return _texts(*word_kernel.differences(left.text, left.starts, left.ends, right.text, right.starts, right.ends))


def addresses(words: Digits) -> pl.Series:
    """The address that a word holds, lower case with ``0x``; null where there is no word. Its upper 12 bytes are not looked at, as the
    chain's own contracts do not where they only compare addresses."""
    return _texts(*word_kernel.addresses(words.text, words.starts, words.ends))


def quantity(texts: pl.Series) -> pl.Series:
    """JSON-RPC quantities (https://ethereum.org/en/developers/docs/apis/json-rpc/#quantities-encoding), ``0x`` and 1 to 64 digits, as decimal
    text; null where the text is none. Leading zeros are taken."""
    return integers(digits(texts))


def pairs(data: Digits) -> tuple[pl.Series, pl.Series]:
    """The event data ``(uint256[], uint256[])``: both arrays of each row as lists of decimal text; null where an offset or a length
    leaves the data, a word is no hex, or the two differ in length."""
    counts, left, right = word_kernel.array_pairs(data.text, data.starts, data.ends)
    found = [integers(Digits(data.text, starts, starts + DIGITS)) for starts in (left, right)]
    whole = counts >= 0
    rows = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))
    whole[rows[(found[0].is_null() | found[1].is_null()).to_numpy()]] = False
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.maximum(counts, 0))]))
    lists = [pl.Series(pa.LargeListArray.from_arrays(offsets, values.to_arrow())) for values in found]
    left_list, right_list = (pl.select(pl.when(pl.Series(whole)).then(each)).to_series() for each in lists)
    return left_list, right_list


def normalized(values: pl.Series, decimals: pl.Series) -> pl.Series:
    """Whole numbers (decimal text) less so many decimals, as decimal(38,18); null where either is null, and where it does not fit exactly:
    with 20 digits or more before the point, or a fraction beyond 18 digits."""
    offsets, text = _buffers(values.to_arrow(compat_level=pl.CompatLevel.oldest()))
    starts = np.where(values.is_null().to_numpy(), -1, offsets[:-1])
    numbers, valid = word_kernel.scaled(text, starts, offsets[1:], decimals.cast(pl.Int64).fill_null(-1).to_numpy(writable=True))
    column = pa.Decimal128Array.from_buffers(pa.decimal128(38, 18), len(values), [_bitmap(valid), pa.py_buffer(numbers)])
    return pl.Series(values.name, column)


def sums(values: pl.Series, groups: pl.Series) -> pl.Series:
    """The sum of unsigned whole numbers (decimal text) of each group, from 0 to the greatest there is, as decimal text, however large; null
    where one of them is no number."""
    offsets, text = _buffers(values.to_arrow(compat_level=pl.CompatLevel.oldest()))
    starts, of = np.where(values.is_null().to_numpy(), -1, offsets[:-1]), groups.cast(pl.Int64).to_numpy(writable=True)
    return _texts(*word_kernel.sums(text, starts, offsets[1:], of, int(of.max(initial=-1)) + 1))


def _buffers(texts: pa.Array) -> tuple[Ints, Bytes]:
    """Where each text begins (and the last one ends), and all bytes, two at least."""
    _, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    # Each of numba's functions is compiled anew for arrays that may be written to, so those that it is given are always of one kind.
    text = data if data and data.size > 1 else bytes(data or b"") + bytes(2)
    return at.copy(), np.frombuffer(text, np.uint8)


def _texts(data: Bytes, offsets: Ints, valid: Bytes) -> pl.Series:
    column = pa.LargeStringArray.from_buffers(len(valid), pa.py_buffer(offsets), pa.py_buffer(data), _bitmap(valid))
    return pl.Series(column)


def _bitmap(valid: Bytes) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
