"""The bloom filter of a block's logs: what its header says, from the logs themselves.

Here: that function of logs. Not here: what is done where it differs (blocks.py).
Yellow paper, 4.4.1 (https://ethereum.github.io/yellowpaper/paper.pdf): of the Keccak-256 of each address and topic, three pairs of bytes
give one bit each, of 2,048.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

BITS = 2048
REMEMBERED = 1 << 16  # addresses and topics; in the main net's blocks most come again


def bloom(logs: Iterable[Mapping[str, Any]]) -> str:
    """The filter as hex, of JSON-RPC's logs."""
    bits = 0
    for word in {word for log in logs for word in (log["address"], *log["topics"])}:
        bits |= _bits(word)
    return f"0x{bits:0{BITS // 4}x}"


@lru_cache(maxsize=REMEMBERED)
def _bits(word: str) -> int:
    from Crypto.Hash import keccak  # the standard library has SHA3-256, which is another

    digest = keccak.new(digest_bits=256, data=bytes.fromhex(word[2:])).digest()
    return 1 << _place(digest, 0) | 1 << _place(digest, 2) | 1 << _place(digest, 4)


def _place(digest: bytes, at: int) -> int:
    return int.from_bytes(digest[at : at + 2], "big") % BITS
