"""Social messages as services' interfaces give them, kept as JSON: one document, an array, or a document a line; gzipped or not.

Here: StockTwits (https://api.stocktwits.com/developers/docs: ``messages`` of a stream, or single ones) and tweets of Twitter's interface 1.1
(https://developer.x.com/en/docs/x-api/v1/data-dictionary: single ones, or ``statuses`` of a search). Of a message that is passed on within
another only its id is kept. Not here: what is kept of authors (authors.py).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.alt import social
from quantlake.sources.authors import Hashed, anonymous, unescaped
from quantlake.sources.importers import Importer, Recognised, Rows, content, counted, decoded, sha256, typed

SUFFIXES = (".json", ".jsonl", ".ndjson")
SNIFFED_BYTES = 1 << 20
LISTS = ("messages", "statuses")
FIELDS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("source", "message_id", "author_hash", "body", "sentiment", "in_reply_to", "reshare_of"), pl.String),
    "symbols": pl.List(pl.String),
    "published_at": pl.Datetime("us", "UTC"),
}


class UnusableError(ValueError):
    """Why a message cannot be taken, in words that hold nothing of it."""


@dataclass(frozen=True)
class Shape:
    """How a service writes a message: its documents have all names of ``marks`` and one of ``any_of``; ``read`` gives what is in ``FIELDS``."""

    source: str
    name: str
    marks: tuple[str, ...]
    any_of: tuple[str, ...]
    read: Callable[[Any, Hashed], dict[str, Any]]


def recognise(path: Path, hashed: Hashed) -> Recognised:
    """By name and content. ``hashed`` is what is kept of an author."""
    if Path(path.name.lower().removesuffix(".gz")).suffix not in SUFFIXES:
        return None
    head = content(path, SNIFFED_BYTES)
    if not re.match(rb"(\xef\xbb\xbf)?\s*[\[{]", head):
        return None
    shape = next((s for s in SHAPES if all(_names(head, s.marks)) and any(_names(head, s.any_of))), None)
    return Importer(shape.name, partial(read, shape, hashed)) if shape else None


def _names(head: bytes, names: Iterable[str]) -> Iterator[bool]:
    return (f'"{name}"'.encode() in head for name in names)


def read(shape: Shape, hashed: Hashed, path: Path) -> Rows:
    """The messages of a file, one table typed as ``social.raw``, in its order; a message's number is its ``line_number``.

    ``known_at`` is the time of publication, the only one the file has; ``source_name`` is its content's, since a file may be named after
    a person. Raises ``QuantLakeError`` naming file, line and message, and nothing that is in it.
    """
    whole = content(path)
    version = sha256(whole)
    try:
        found = [_taken(shape, hashed, *placed) for placed in enumerate(_messages(decoded(whole, str(path)), path), 1)]
    except RecursionError:
        raise QuantLakeError(f"{path} is nested too deeply for messages") from None
    rows = pl.DataFrame(found, schema=FIELDS).with_columns(
        event_time=pl.col("published_at"),
        known_at=pl.col("published_at"),
        partition_date=pl.col("published_at").dt.date(),
        source_name=pl.lit(f"social/{shape.source}/{version[:12]}"),
        source_version=pl.lit(version),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    )
    yield social.raw, typed(social.raw, counted(rows))


def _taken(shape: Shape, hashed: Hashed, number: int, placed: tuple[str, Any]) -> dict[str, Any]:
    where, message = placed
    try:
        return shape.read(message, hashed)
    except UnusableError as error:
        raise QuantLakeError(f"{where} message {number}: {error}") from None


def _messages(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Each message and where it stands."""
    try:
        documents = [(str(path), json.loads(text))]
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise _no_json(f"{path} line {error.lineno}", error) from None
        lines = [(f"{path} line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        documents = [(where, _line(line, where)) for where, line in lines]
    except ValueError as error:  # a number of thousands of digits
        raise _no_json(str(path), error) from None
    for where, document in documents:
        yield from ((where, message) for message in _flat(document))


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise _no_json(where, error) from None


def _no_json(where: str, error: ValueError) -> QuantLakeError:
    return QuantLakeError(f"{where} is not JSON: {getattr(error, 'msg', error)}; a cut file? Fetch it again")


def _flat(document: Any) -> Iterator[Any]:
    """The messages of a document: a list of such, a list under a service's name for it, or itself."""
    named = next((document[name] for name in LISTS if isinstance(document.get(name), list)), None) if isinstance(document, dict) else document
    if isinstance(named, list):
        for item in named:
            yield from _flat(item)
    else:
        yield document


def _stocktwits(message: Any, hashed: Hashed) -> dict[str, Any]:
    number = _id(message, "id")
    conversation = _part(message, "conversation")
    answered = _id(conversation, "in_reply_to_message_id", "parent_message_id", needed=False)
    reshared = _part(message, "reshare_message")
    symbols = _texts(message.get("symbols"), "symbol")
    word = _part(_part(message, "entities"), "sentiment").get("basic")
    if word not in (None, "Bullish", "Bearish"):
        raise UnusableError("entities.sentiment.basic is neither Bullish, Bearish nor null")
    return {
        "source": "stocktwits",
        "message_id": number,
        "author_hash": hashed("stocktwits", _id(_part(message, "user"), "id", of="user.")),
        "body": _body(message, symbols, "body"),
        "symbols": symbols,
        "sentiment": word and word.lower(),
        "in_reply_to": answered if answered != number else None,  # a conversation's first message names itself
        "reshare_of": _id(_part(reshared, "message") or reshared, "id", needed=False),
        "published_at": _time(message, datetime.fromisoformat, "2020-08-26T21:49:00Z"),
    }


def _tweet(message: Any, hashed: Hashed) -> dict[str, Any]:
    number = _id(message, "id_str", "id")
    extended = _part(message, "extended_tweet")
    entities = _part(extended, "entities") or _part(message, "entities")
    symbols = _texts(entities.get("symbols"), "text")
    retweeted = _id(_part(message, "retweeted_status"), "id_str", "id", needed=False)
    return {
        "source": "twitter",
        "message_id": number,
        "author_hash": hashed("twitter", _id(_part(message, "user"), "id_str", "id", of="user.")),
        "body": _body({**message, **extended}, symbols, "full_text", "text"),
        "symbols": symbols,
        "sentiment": None,
        "in_reply_to": _id(message, "in_reply_to_status_id_str", "in_reply_to_status_id", needed=False),
        "reshare_of": retweeted or _id(message, "quoted_status_id_str", "quoted_status_id", needed=False),
        "published_at": _time(message, lambda text: datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y"), "Wed Oct 10 20:19:24 +0000 2018"),
    }


def _part(message: Any, name: str) -> dict[str, Any]:
    """An object within; an empty one where there is none."""
    if not isinstance(message, dict):
        raise UnusableError("it is not a JSON object")
    found = message.get(name)
    if not isinstance(found, dict | None):
        raise UnusableError(f"{name} is not an object")
    return found or {}


def _id(message: Any, *names: str, needed: bool = True, of: str = "") -> Any:
    """The first of these that is there, as text."""
    if not isinstance(message, dict):
        raise UnusableError("it is not a JSON object")
    found = next((message[name] for name in names if message.get(name) not in (None, "")), None)
    if found is None and not needed:
        return None
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise UnusableError(f"{of}{names[0]} is missing, or no id")
    return _whole(str(found), f"{of}{names[0]}")


def _body(message: dict[str, Any], symbols: list[str], *names: str) -> str:
    found = next((message[name] for name in names if isinstance(message.get(name), str)), None)
    if found is None:
        raise UnusableError(f"{' and '.join(names)}: there is no text")
    return anonymous(_whole(unescaped(found), names[-1]), message, symbols)


def _texts(items: Any, name: str) -> list[str]:
    if not isinstance(items, list | None) or not all(isinstance(item, dict) and isinstance(item.get(name), str) for item in items or ()):
        raise UnusableError(f"symbols are no list of objects with a {name}")
    return [_whole(item[name], name) for item in items or ()]


def _whole(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnusableError(f"{name} has half of a character") from None
    return text


def _time(message: dict[str, Any], parse: Callable[[str], datetime], example: str) -> datetime:
    text = message.get("created_at")
    try:
        time = parse(text) if isinstance(text, str) else None
        if time is not None and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UnusableError(f"created_at is {str(text)[:60]!r}; it is to be as {example}")


SHAPES = (
    Shape("twitter", "tweets", ("created_at", "id_str", "user"), ("text", "full_text"), _tweet),
    Shape("stocktwits", "StockTwits messages", ("created_at", "body", "user"), ("symbols", "entities", "username"), _stocktwits),
)
