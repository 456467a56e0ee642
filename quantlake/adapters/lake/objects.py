"""Documents under the hash of their content: files of the lake's folder, or objects of its bucket.

Here: both. Not here: their addresses (contract), which rows name them.
"""

import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quantlake.contract import Document, QuantLakeError
from quantlake.contract.documents import OBJECT_URI

if TYPE_CHECKING:
    from pyiceberg.io import FileIO


class FolderObjects:
    """``objects/`` below a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, document: Document) -> None:
        path = self._folder / document.uri
        if path.exists() and path.read_bytes() == document.content:  # a damaged one is replaced
            return
        staged = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                staged.write_bytes(document.content)
                staged.replace(path)  # whole or not at all, however the writer ends
            finally:
                staged.unlink(missing_ok=True)
        except OSError as error:
            raise QuantLakeError(f"{path} cannot be written: {error.strerror}") from error

    def get(self, uri: str) -> bytes:
        path = self._folder / _address(uri)
        try:
            return _whole(uri, path.read_bytes())
        except FileNotFoundError:
            raise QuantLakeError(f"there is no {uri} in {self._folder}") from None
        except OSError as error:
            raise QuantLakeError(f"{path} cannot be read: {error.strerror}") from error


class StoreObjects:
    """``objects/`` below an address that the file IO of Iceberg opens (``properties`` as pyiceberg takes them)."""

    def __init__(self, location: str, properties: Mapping[str, str]) -> None:
        self._location, self._properties = location.rstrip("/"), properties

    @cached_property
    def _io(self) -> "FileIO":
        from pyiceberg.io import load_file_io

        from quantlake.adapters.lake.clients import DEFAULTS

        return load_file_io({**DEFAULTS, **self._properties}, self._location)

    def put(self, document: Document) -> None:
        place = f"{self._location}/{document.uri}"
        try:
            output = self._io.new_output(place)
            if not output.exists():
                with output.create(overwrite=True) as stream:
                    stream.write(document.content)
        except OSError as error:
            raise QuantLakeError(f"{place} cannot be written: {error}") from error

    def get(self, uri: str) -> bytes:
        place = f"{self._location}/{_address(uri)}"
        try:
            with self._io.new_input(place).open() as stream:
                return _whole(uri, stream.read())
        except FileNotFoundError:
            raise QuantLakeError(f"there is no {uri} in {self._location}") from None
        except OSError as error:
            raise QuantLakeError(f"{place} cannot be read: {error}") from error


def _address(uri: str) -> str:
    """The address, if it is one: nothing else of the lake is read by it."""
    if not OBJECT_URI.fullmatch(uri):
        raise QuantLakeError(f"{uri!r} is no document's address; a row's object_uri is: objects/ab/ab...")
    return uri


def _whole(uri: str, content: bytes) -> bytes:
    if Document(content).uri != uri:
        raise QuantLakeError(f"{uri} holds other bytes than were kept: it is damaged")
    return content
