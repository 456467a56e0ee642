"""JSON documents of a file: one, an array of them, or one a line; gzip or not.

Here: reading them so that no number is rounded, and where each stands. Not here: what they say (json_rpc.py, etl.py, parity.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.sources.ethereum.rows import Origin
from quantlake.sources.ethereum.values import MAIN_NET, MOST_DIGITS, SHOWN
from quantlake.sources.importers import content, decoded, sha256


@dataclass(frozen=True)
class Document:
    """A file's text and the sha256 of its content."""

    path: Path
    text: str
    version: str

    def origin(self, source: str, chain_id: int) -> Origin:
        """Of its rows, received now. They are named after the file without its folder, and their chain where it is not the main net."""
        name = self.path.name.removesuffix(".gz").lower()
        folder = source if chain_id == MAIN_NET else f"{source}/chain-{chain_id}"  # the same bytes may be said of two chains
        return Origin(source, f"{folder}/{name}", self.version, datetime.now(UTC), chain_id)


def opened(path: Path) -> Document:
    """Raises ``QuantLakeError``: a gzip file that is cut, a text that is not UTF-8."""
    raw = content(path)
    return Document(path, decoded(raw, str(path)), sha256(raw))


def parsed(document: Document) -> Iterator[tuple[str, int, Any]]:
    """Each JSON document, flat: where it stands for people, its number or line from 1, and what it is; numbers with a point, or beyond 256 bits, are text.

    Raises ``QuantLakeError`` naming the line that is not JSON.
    """
    try:
        found = DECODER.decode(document.text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _by_line(document)
            return
        raise _not_json(f"{document.path} line {error.lineno}", document.text, error) from None
    except ValueError as error:
        raise _not_json(str(document.path), document.text, error) from None
    except RecursionError:
        raise QuantLakeError(f"{document.path} is nested too deeply for data of a chain") from None
    listed = found if isinstance(found, list) else [found]
    yield from ((f"{document.path} item {number}", number, item) for number, item in enumerate(listed, 1))


def _by_line(document: Document) -> Iterator[tuple[str, int, Any]]:
    for number, line in enumerate(document.text.split("\n"), 1):
        where = f"{document.path} line {number}"
        if not line.strip():
            continue
        try:
            found = DECODER.decode(line)
        except ValueError as error:
            raise _not_json(where, line, error) from None
        except RecursionError:
            raise QuantLakeError(f"{where} is nested too deeply for data of a chain") from None
        yield from ((where, number, item) for item in (found if isinstance(found, list) else [found]))


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= MOST_DIGITS else digits


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _not_json(where: str, text: str, error: ValueError) -> QuantLakeError:
    why = getattr(error, "msg", error)
    return QuantLakeError(f"{where} is not JSON ({why}); it begins {text.lstrip()[:SHOWN]!r}; a cut file, or an error page? Fetch it again")


DECODER = json.JSONDecoder(parse_float=str, parse_int=_whole, parse_constant=_no_constant)
