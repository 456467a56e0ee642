"""LEAN's zips: opening, unpacking, and whatever may be wrong with a zip.

Here: bytes of members. Not here: what they mean.
"""

import zipfile
import zlib
from pathlib import Path

from quantlake.contract import QuantLakeError

HEAD_BYTES = 1 << 16


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK" or path.suffix.lower() == ".zip"


def open_zip(path: Path) -> zipfile.ZipFile:
    """Raises ``QuantLakeError``: a zip that is cut, or none."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise QuantLakeError(f"{path} is not a whole zip file ({error}); fetch it again") from error


def content(archive: zipfile.ZipFile, path: Path, name: str, limit: int = -1) -> bytes:
    """The first ``limit`` bytes of a member, by default all; raises ``QuantLakeError`` where it cannot be unpacked."""
    try:
        with archive.open(name) as member:
            return member.read(limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise QuantLakeError(f"{path}: {name} cannot be unpacked ({error}); fetch the file again") from error


def head(archive: zipfile.ZipFile, path: Path, name: str) -> list[str]:
    """The first whole lines of a member."""
    begun = content(archive, path, name, HEAD_BYTES)
    lines = begun.decode("utf-8", errors="replace").split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if len(begun) == HEAD_BYTES else lines) if line]
