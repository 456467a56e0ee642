"""Kafka's produce request (version 7, record batches of magic 2), by hand: it says what no client library would.

Here: bytes on a socket. Not here: what is said (``hostile``).
"""

import socket
import struct
from collections.abc import Iterable

from quantlake_tests.landing.hostile import Sent


def produce(address: str, topic: str, partition: int, records: Iterable[Sent]) -> list[int]:
    """Send records, each as a batch of its own, with the time it says; their offsets."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        return [_produced(connection, topic, partition, record) for record in records]


def _produced(connection: socket.socket, topic: str, partition: int, record: Sent) -> int:
    batch = _batch(record)
    name = _text(topic.encode())
    request = b"".join([
        struct.pack(">hhi", 0, 7, 1), _text(b"by hand"), struct.pack(">hhi", -1, -1, 10_000),  # no transaction, every replica, 10 s
        struct.pack(">i", 1), name, struct.pack(">iii", 1, partition, len(batch)), batch,
    ])  # fmt: skip
    connection.sendall(struct.pack(">i", len(request)) + request)
    answer = _read(connection, struct.unpack(">i", _read(connection, 4))[0])
    error, offset = struct.unpack_from(">hq", answer, 4 + 4 + len(name) + 4 + 4)
    assert error == 0, f"the broker answers with error {error}"
    return int(offset)


def _batch(record: Sent) -> bytes:
    headers = b"".join(_data(name) + _data(value) for name, value in record.headers)
    body = b"\0\0\0" + _data(record.key) + _data(record.value) + _varint(len(record.headers)) + headers
    content = struct.pack(">hiqqqhii", 0, 0, record.at, record.at, -1, -1, -1, 1) + _varint(len(body)) + body
    return struct.pack(">qiibI", 0, len(content) + 9, -1, 2, _crc32c(content)) + content


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def _data(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _varint(number: int) -> bytes:
    zigzag, out = (number << 1) ^ (number >> 63), bytearray()
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _read(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        assert part, "the broker closed the connection"
        found += part
    return found


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


REMAINDERS = [_remainder(byte) for byte in range(256)]


def _crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = REMAINDERS[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
