"""Whole numbers of 256 bits from hex to decimal text, compiled by numba.

Here: the loops, over bytes of texts and where each number's digits begin and end. Not here: columns (words.py).

A number is eight limbs of 32 bits, lowest first, in 64-bit integers, so that no product or remainder overflows. Dividing by 10^9 gives nine
decimal digits at once. Every operand is unsigned: numba makes floats of signed and unsigned ones together. A word costs 0.12 us (64 bits)
to 0.21 us (256), where int() and str() of Python take 0.40 to 0.53 us and two objects each. Compiling takes 4 s, once.
"""

import numpy as np
import numpy.typing as npt

from quantlake.contract.compiled import compiled

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Limbs = npt.NDArray[np.uint64]

LONGEST = 78 + 1  # digits of 2^256 and a sign
ADDRESS = 2 + 40  # characters
DIGITS = 64  # of a word
_NO_DIGIT = np.uint8(255)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_LIMB = np.uint64(0xFFFFFFFF)
_BITS = np.uint64(32)
_BILLION, _TEN = np.uint64(10**9), np.uint64(10)


def _hex_values() -> Bytes:
    values = np.full(256, _NO_DIGIT, np.uint8)
    for value, digit in enumerate("0123456789abcdef"):
        values[ord(digit)] = values[ord(digit.upper())] = value
    return values


HEX = _hex_values()


@compiled
def _read(text: Bytes, start: int, end: int, limbs: Limbs) -> bool:
    """The number of some hex digits; False: they are none, or too many."""
    limbs[:] = _ZERO
    if start < 0 or end <= start or end - start > DIGITS:
        return False
    for n in range(end - start):
        value = HEX[text[end - 1 - n]]
        if value == _NO_DIGIT:
            return False
        limbs[n >> 3] |= np.uint64(value) << np.uint64(4 * (n & 7))
    return True


@compiled
def _fits(limbs: Limbs, bits: int, negative: bool) -> bool:
    """Whether all bits from ``bits`` on are those that extend the sign."""
    extension = _LIMB if negative else _ZERO
    for n in range(8):
        own = min(max(bits - 32 * n, 0), 32)
        if limbs[n] >> np.uint64(own) != extension >> np.uint64(own):
            return False
    return True


@compiled
def _negate(limbs: Limbs) -> None:
    carry = _ONE
    for n in range(8):
        carry += limbs[n] ^ _LIMB
        limbs[n] = carry & _LIMB
        carry >>= _BITS


@compiled
def _subtract(left: Limbs, right: Limbs) -> bool:
    """``left`` becomes the difference of the two, in two's complement of 257 bits: the highest one, whether it is negative, is returned."""
    borrow = _ZERO
    for n in range(8):
        found = left[n] + _LIMB + _ONE - right[n] - borrow
        left[n] = found & _LIMB
        borrow = _ONE - (found >> _BITS)
    return bool(borrow)


@compiled
def _write(limbs: Limbs, negative: bool, out: Bytes, at: int, billions: Limbs) -> int:
    """The number's decimal digits from ``at`` on, which destroys it; where they end."""
    highest, count = 7, 0
    while highest > 0 and limbs[highest] == _ZERO:
        highest -= 1
    while highest >= 0:
        rest = _ZERO
        for n in range(highest, -1, -1):
            rest = rest << _BITS | limbs[n]
            limbs[n] = rest // _BILLION
            rest -= limbs[n] * _BILLION
        billions[count] = rest
        count += 1
        while highest >= 0 and limbs[highest] == _ZERO:
            highest -= 1
    if negative:
        out[at] = ord("-")
        at += 1
    first, digits = billions[count - 1], 1
    while first >= _TEN:
        first //= _TEN
        digits += 1
    for n in range(count - 1, -1, -1):
        rest = billions[n]
        for place in range(digits - 1, -1, -1):
            out[at + place] = np.uint8(ord("0") + rest % _TEN)
            rest //= _TEN
        at += digits
        digits = 9
    return at


@compiled
def integers(text: Bytes, starts: Ints, ends: Ints, bits: int, signed: bool) -> tuple[Bytes, Ints, Bytes]:
    """Numbers as decimal text: all bytes, where each text begins (and the last one ends), and 1 where there is one, else 0.

    There is none where a start is negative, digits are no hex, or the number is none of ``bits``; a signed one is 64 digits of two's
    complement.
    """
    out = np.empty(LONGEST * len(starts), np.uint8)
    offsets, valid = np.zeros(len(starts) + 1, np.int64), np.zeros(len(starts), np.uint8)
    limbs, billions = np.empty(8, np.uint64), np.empty(9, np.uint64)
    at = 0
    for row in range(len(starts)):
        if _read(text, starts[row], ends[row], limbs):
            negative = signed and (limbs[7] >> np.uint64(31)) == _ONE
            if _fits(limbs, bits - signed, negative):
                if negative:
                    _negate(limbs)
                at = _write(limbs, negative, out, at, billions)
                valid[row] = 1
        offsets[row + 1] = at
    return out[:at], offsets, valid


@compiled
def differences(text: Bytes, starts: Ints, ends: Ints, less: Bytes, less_starts: Ints, less_ends: Ints) -> tuple[Bytes, Ints, Bytes]:
    """Unsigned numbers less others, as ``integers`` gives them; none where the difference is no signed number of 256 bits."""
    out = np.empty(LONGEST * len(starts), np.uint8)
    offsets, valid = np.zeros(len(starts) + 1, np.int64), np.zeros(len(starts), np.uint8)
    left, right, billions = np.empty(8, np.uint64), np.empty(8, np.uint64), np.empty(9, np.uint64)
    at = 0
    for row in range(len(starts)):
        if _read(text, starts[row], ends[row], left) and _read(less, less_starts[row], less_ends[row], right):
            negative = _subtract(left, right)
            if _fits(left, 255, negative):
                if negative:
                    _negate(left)
                at = _write(left, negative, out, at, billions)
                valid[row] = 1
        offsets[row + 1] = at
    return out[:at], offsets, valid


@compiled
def addresses(text: Bytes, starts: Ints, ends: Ints) -> tuple[Bytes, Ints, Bytes]:
    """The last 20 bytes of words as lower-case hex, as ``integers`` gives texts; what is before them is not looked at."""
    out = np.empty(ADDRESS * len(starts), np.uint8)
    offsets, valid = np.zeros(len(starts) + 1, np.int64), np.zeros(len(starts), np.uint8)
    at = 0
    for row in range(len(starts)):
        whole = starts[row] >= 0 and ends[row] - starts[row] == DIGITS
        if whole:
            out[at], out[at + 1] = ord("0"), ord("x")
            for n in range(ADDRESS - 2):
                value = HEX[text[ends[row] - ADDRESS + 2 + n]]
                whole &= value != _NO_DIGIT
                out[at + 2 + n] = value + (ord("0") if value < 10 else ord("a") - 10)
        if whole:
            at += ADDRESS
            valid[row] = 1
        offsets[row + 1] = at
    return out[:at], offsets, valid


@compiled
def _place(text: Bytes, at: int) -> int:
    """A word as a number, if it is below 2^31, which is more than any text has characters; else -1."""
    found = 0
    for n in range(DIGITS):
        value = HEX[text[at + n]]
        if value == _NO_DIGIT or found >= 1 << 27:
            return -1
        found = found << 4 | value
    return found


@compiled
def _array(text: Bytes, start: int, end: int, head: int) -> tuple[int, int]:
    """Where the words of a dynamic array begin and how many there are, by its offset at ``head``; (-1, 0): not within the data."""
    offset = _place(text, head)
    if offset < 0 or start + 2 * offset + DIGITS > end:
        return -1, 0
    first = start + 2 * offset + DIGITS
    count = _place(text, first - DIGITS)
    return (first, count) if 0 <= count <= (end - first) // DIGITS else (-1, 0)


@compiled
def array_pairs(text: Bytes, starts: Ints, ends: Ints) -> tuple[Ints, Ints, Ints]:
    """Two dynamic arrays of words, of one length: how many each row has (-1: not that), and where the words of both begin, row by row."""
    counts = np.full(len(starts), -1, np.int64)
    firsts = np.zeros((len(starts), 2), np.int64)
    total = 0
    for row in range(len(starts)):
        start, end = starts[row], ends[row]
        if start < 0 or end - start < 2 * DIGITS:
            continue
        one, count = _array(text, start, end, start)
        other, same = _array(text, start, end, start + DIGITS)
        if one >= 0 and other >= 0 and count == same:
            counts[row], firsts[row, 0], firsts[row, 1] = count, one, other
            total += count
    left, right, at = np.empty(total, np.int64), np.empty(total, np.int64), 0
    for row in range(len(starts)):
        for n in range(counts[row]):
            left[at], right[at] = firsts[row, 0] + n * DIGITS, firsts[row, 1] + n * DIGITS
            at += 1
    return counts, left, right


@compiled
def scaled(text: Bytes, starts: Ints, ends: Ints, decimals: Ints) -> tuple[Limbs, Bytes]:
    """Decimal texts less ``decimals`` digits, times 10^18, as 128 bits of two's complement (low, high), and 1 where it is exact and below
    10^38, else 0; also 0 where ``decimals`` is negative."""
    out, valid = np.zeros((len(starts), 2), np.uint64), np.zeros(len(starts), np.uint8)
    limbs = np.empty(4, np.uint64)
    for row in range(len(starts)):
        start, end = starts[row], ends[row]
        negative = start >= 0 and end > start and text[start] == ord("-")
        start += negative
        if start < 0 or end <= start or decimals[row] < 0:
            continue
        while start < end - 1 and text[start] == ord("0"):
            start += 1
        nothing = end - start == 1 and text[start] == ord("0")
        shift = 0 if nothing else 18 - decimals[row]
        whole = end - start + shift <= 38
        while shift < 0 and start < end and whole:
            end -= 1
            shift += 1
            whole = text[end] == ord("0")
        limbs[:] = _ZERO
        for place in range(start, end + shift if whole else start):
            carry = np.uint64(text[place] - ord("0")) if place < end else _ZERO
            whole &= carry < _TEN
            for n in range(4):
                carry += limbs[n] * _TEN
                limbs[n] = carry & _LIMB
                carry >>= _BITS
        if not whole or shift < 0:
            continue
        low, high = limbs[1] << _BITS | limbs[0], limbs[3] << _BITS | limbs[2]
        if negative:
            low, high = ~low + _ONE, ~high + (_ONE if low == _ZERO else _ZERO)
        out[row, 0], out[row, 1], valid[row] = low, high, 1
    return out, valid


@compiled
def sums(text: Bytes, starts: Ints, ends: Ints, groups: Ints, count: int) -> tuple[Bytes, Ints, Bytes]:
    """Sums of unsigned decimal texts by their group, of which there are ``count``, as ``integers`` gives texts; 0 of a group without any, and
    none of one with what is no number of up to 78 digits."""
    places = np.zeros((count, 11), np.int64)  # of nine digits each; nine hold 10^78, and two what ten billion of these add to it
    valid = np.ones(count, np.uint8)
    for row in range(len(starts)):
        of, end, place = groups[row], ends[row], 0
        if starts[row] < 0 or end <= starts[row] or end - starts[row] > LONGEST - 1:
            valid[of] = 0
            continue
        while end > starts[row]:
            begin, found = max(end - 9, starts[row]), 0
            for n in range(begin, end):
                if text[n] < ord("0") or text[n] > ord("9"):
                    valid[of] = 0
                found = found * 10 + text[n] - ord("0")
            places[of, place] += found
            end, place = begin, place + 1
    out, offsets, at = np.empty(99 * count, np.uint8), np.zeros(count + 1, np.int64), 0
    for of in range(count):
        if valid[of]:
            for place in range(10):
                places[of, place + 1] += places[of, place] // 10**9
                places[of, place] %= 10**9
            begun = False
            for digit in range(98, -1, -1):
                value = places[of, digit // 9] // 10 ** (digit % 9) % 10
                begun |= value > 0 or digit == 0
                if begun:
                    out[at] = ord("0") + value
                    at += 1
        offsets[of + 1] = at
    return out[:at], offsets, valid
