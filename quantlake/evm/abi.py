"""What contracts answer to calls, as the application binary interface has it: texts and numbers.

Here: one answer each, and the selectors of ERC-20's optional functions. Not here: events (transfers.py, swaps.py), code (code.py).

The encoding: https://docs.soliditylang.org/en/latest/abi-spec.html; the functions: https://eips.ethereum.org/EIPS/eip-20. Tokens older than it
answer ``bytes32`` where it has strings.
"""

from typing import NamedTuple

WORD_BYTES = 32
SYMBOL, NAME, DECIMALS, TOTAL_SUPPLY = "0x95d89b41", "0x06fdde03", "0x313ce567", "0x18160ddd"
MOST_DECIMALS = 255  # uint8


class Said(NamedTuple):
    """A text without NULs, null where there is none; and whether it was no UTF-8, so that parts of it are replaced."""

    text: str | None
    bad: bool


def text(answer: str) -> Said:
    """A ``string``, or a ``bytes32`` filled with NULs; what is neither is no text. ``answer`` is hex (0x and pairs of digits)."""
    data = bytes.fromhex(answer[2:])
    found = _string(data)
    if found is None and len(data) == WORD_BYTES and data[0]:
        found = data
    if found is None:
        return Said(None, False)
    bare = found.replace(b"\0", b"")
    decoded = bare.decode("utf-8", errors="replace")
    return Said(decoded or None, decoded.encode() != bare)


def number(answer: str) -> int | None:
    """A ``uint256``; null where the answer is not one word."""
    return int(answer, 16) if len(answer) == 2 + 2 * WORD_BYTES else None


def decimals(answer: str) -> int | None:
    """A ``uint8``; null where the answer is none."""
    found = number(answer)
    return found if found is not None and found <= MOST_DECIMALS else None


def _string(data: bytes) -> bytes | None:
    """The bytes that a head of one offset leads to; null where these do not fit into the answer."""
    start = int.from_bytes(data[:WORD_BYTES]) + WORD_BYTES
    if len(data) < 2 * WORD_BYTES or start > len(data):
        return None
    length = int.from_bytes(data[start - WORD_BYTES : start])
    return data[start : start + length] if length <= len(data) - start else None
