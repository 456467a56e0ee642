"""Values as documents of a chain write them, checked and read column by column.

Here: hex of a fixed or any length, whole numbers of up to 256 bits, lists of words; each found wrong is named by record and member. Not here: which
members a kind of record has (rows.py, etl.py, parity.py).

Hex is that of the JSON-RPC interface (https://ethereum.org/en/developers/docs/apis/json-rpc/#hex-encoding). Hashes, addresses and data become lower case.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from types import NoneType
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.evm import words

SURROGATE = re.compile("[\ud800-\udfff]")
SHOWN = 60  # characters of what was found
LARGEST = str(2**256 - 1)
LAST_SECOND = 253_402_300_799  # of the year 9999
MAIN_NET = 1
MOST_DIGITS = 80  # of a number that may be one of 256 bits
AHEAD = timedelta(days=1)  # what a clock may be wrong by


@dataclass(frozen=True)
class Form:
    """How a value is written: a pattern of all of it, and for people."""

    pattern: str
    said: str


def _bytes(number: int, name: str) -> Form:
    return Form(rf"(?i)^0x[0-9a-f]{{{2 * number}}}$", f"{name} (0x and {2 * number} hex digits)")


HASH, ADDRESS, WORD, BLOOM = _bytes(32, "a hash"), _bytes(20, "an address"), _bytes(32, "a word"), _bytes(256, "a bloom filter")
HASH_OR_NONE = Form(r"(?i)^0x([0-9a-f]{64})?$", "a hash (0x and 64 hex digits), or 0x")
DATA = Form(r"(?i)^0x([0-9a-f]{2})*$", "data (0x and pairs of hex digits)")
HEX = Form(r"(?i)^0x[0-9a-f]+$", "a hex quantity, such as 0x1f")
DIGITS = Form(r"^[0-9]+$", "a whole number")
PLACE = Form(r"^[0-9]{1,9}$", "a whole number of at most nine digits")
EITHER = Form(r"(?i)^(0x[0-9a-f]+|[0-9]+)$", "a whole number, or one as hex")
BOOLEAN = Form(r"(?i)^(true|false)$", "true or false")


class Item(NamedTuple):
    """A record of a file: where it stands for people, its document's number from 1, its own in that from 0, and what it is."""

    where: str
    line: int
    number: int
    value: Any


@dataclass(frozen=True)
class Records:
    """Records of one kind: ``member`` gives one member of all of them as text (null: absent), ``listed`` as lists of text.

    ``numbers`` is how their numbers are written.
    """

    member: Callable[[str], pl.Series]
    listed: Callable[[str], pl.Series]
    where: Callable[[int], str]
    numbers: Form

    def text(self, name: str, form: Form, *, null: bool = False) -> pl.Series:
        """Hex, in lower case."""
        return self._checked(name, form, null).str.to_lowercase()

    def amount(self, name: str, *, null: bool = False) -> pl.Series:
        """Whole numbers of up to 256 bits as decimal text."""
        found = self._checked(name, self.numbers, null)
        decimal = decimals(found)
        if decimal.null_count() > found.null_count():
            self.refuse(decimal.is_null() & found.is_not_null(), name, found, "is beyond 256 bits")
        return decimal

    def integer(self, name: str, *, null: bool = False) -> pl.Series:
        """Whole numbers of 63 bits and a sign that is never there."""
        found = self._checked(name, self.numbers, null)
        whole = decimals(found).cast(pl.Int64, strict=False)
        if whole.null_count() > found.null_count():
            self.refuse(whole.is_null() & found.is_not_null(), name, found, "is beyond 64 bits")
        return whole

    def time(self, name: str, *, null: bool = False) -> pl.Series:
        """Seconds since 1970 as UTC times, none of which is to come."""
        seconds = self.integer(name, null=null)
        self.refuse(seconds > LAST_SECOND, name, seconds, "is no time before the year 10000")
        times = (seconds * 1_000_000).cast(pl.Datetime("us", "UTC"))
        to_come = times > datetime.now(UTC) + AHEAD
        if to_come.any():
            self.refuse(to_come, name, seconds, f"is of {times.filter(to_come)[0]:%Y-%m-%d}, which is to come")
        return times

    def words(self, name: str, most: int, form: Form, *, null: bool = False) -> pl.Series:
        """Lists of up to so many texts of one form, in lower case."""
        found = self.listed(name)
        if not null:
            self.refuse(found.is_null(), name, found, f"is missing; it must be a list, each {form.said}")
        wrong = found.list.eval(~pl.element().str.contains(form.pattern)).list.any() | (found.list.len() > most)
        self.refuse(wrong, name, found.list.join(","), f"is not a list of up to {most}, each {form.said}")
        return found.list.eval(pl.element().str.to_lowercase())

    def boolean(self, name: str, *, null: bool = False) -> pl.Series:
        return self._checked(name, BOOLEAN, null).str.to_lowercase() == "true"

    def plain(self, name: str) -> pl.Series:
        """Any text; null where it is empty."""
        found = self.member(name)
        return found.set(found == "", None)

    def refuse(self, wrong: pl.Series, name: str, found: pl.Series, why: str) -> None:
        """Raises ``QuantLakeError`` for the first record of which ``wrong`` is true, showing what its member is."""
        if wrong.any():
            row = wrong.fill_null(False).arg_true()[0]
            shown = "" if found[row] is None else f" {str(found[row])[:SHOWN]!r}"
            raise QuantLakeError(f"{self.where(row)}: {name}{shown} {why}")

    def _checked(self, name: str, form: Form, null: bool) -> pl.Series:
        found = self.member(name)
        if not null and found.null_count():
            self.refuse(found.is_null(), name, found, f"is missing; it must be {form.said}")
        good = found.str.contains(form.pattern)
        if not good.all():  # nulls aside
            self.refuse(~good, name, found, f"is not {form.said}")
        return found


def of_objects(items: Sequence[Item], numbers: Form) -> Records:
    """Records that are JSON objects. Raises ``QuantLakeError`` for one that is none, and, when it is asked for, for a member of another type."""
    for item in items:
        _require_object(item)
    return Records(partial(_texts, items), partial(_lists, items), lambda row: items[row].where, numbers)


def within(records: Iterable[Item], member: str, called: str, same: Mapping[str, str] | None = None) -> list[Item]:
    """The items of a list in each record, in order, numbered through within its document.

    ``same``: members of an item that must be what a member of its record is, if they are there. Raises ``QuantLakeError`` where they are not, and
    for a record that has no such list.
    """
    found: list[Item] = []
    line, number = 0, 0
    for record in records:
        listed = _list(record, member)
        number = number if record.line == line else 0
        line = record.line
        items = [Item(f"{record.where} {called} {place}", line, number + place, value) for place, value in enumerate(listed)]
        for item in items:
            _require_same(item, record, same or {})
        found += items
        number += len(listed)
    return found


def counts(records: Iterable[Item], member: str) -> list[int]:
    """How many items a list in each record has."""
    return [len(_list(record, member)) for record in records]


def placed(items: Sequence[Item]) -> dict[str, pl.Series]:
    """``line_number`` and ``item_index``."""
    return {
        "line_number": pl.Series([item.line for item in items], dtype=pl.Int64),
        "item_index": pl.Series([item.number for item in items], dtype=pl.Int64),
    }


def decimals(numbers: pl.Series) -> pl.Series:
    """Checked numbers, decimal or hex, as decimal text without leading zeros; null where one is beyond 256 bits."""
    bare = numbers.str.to_lowercase().str.replace("^(0x|)0+([0-9a-f])", "$1$2")
    is_hex = bare.str.starts_with("0x")
    if not is_hex.any():
        return _within_256_bits(bare)
    from_hex = words.integers(words.digits(bare))
    return from_hex if is_hex.all() else from_hex.zip_with(is_hex.fill_null(True), _within_256_bits(bare))


def _require_object(item: Item) -> None:
    if not isinstance(item.value, dict):
        raise QuantLakeError(f"{item.where} is {str(item.value)[:SHOWN]!r}, not an object")


def _list(record: Item, member: str) -> list[Any]:
    _require_object(record)
    listed = record.value.get(member)
    if not isinstance(listed, list):
        raise QuantLakeError(f"{record.where}: {member} is {str(listed)[:SHOWN]!r}, not a list")
    return listed


def _require_same(item: Item, record: Item, same: Mapping[str, str]) -> None:
    if not isinstance(item.value, dict):
        return
    for name, of_record in same.items():
        found, expected = item.value.get(name), record.value.get(of_record)
        if found is not None and str(found).lower() != str(expected).lower():
            raise QuantLakeError(f"{item.where}: {name} {str(found)[:SHOWN]!r} is not that of what it is in, {str(expected)[:SHOWN]!r}")


def _within_256_bits(digits: pl.Series) -> pl.Series:
    length = digits.str.len_bytes()
    return digits.set(((length > len(LARGEST)) | ((length == len(LARGEST)) & (digits > LARGEST))).fill_null(False), None)


def _texts(items: Sequence[Item], name: str) -> pl.Series:
    values = [item.value.get(name) for item in items]
    if not set(map(type, values)) <= {str, NoneType}:
        values = [_text(name, item.where, value) for item, value in zip(items, values, strict=True)]
    try:
        return pl.Series(name, values, dtype=pl.String)
    except UnicodeEncodeError:
        bad = next(item for item, value in zip(items, values, strict=True) if value and SURROGATE.search(value))
        raise QuantLakeError(f"{bad.where}: {name} has half of a character") from None


def _text(name: str, where: str, value: Any) -> str | None:
    """Text as it is, whole numbers as decimal text, true and false as such."""
    if isinstance(value, int):
        return str(value).lower()
    if not isinstance(value, str | None):
        raise QuantLakeError(f"{where}: {name} is {str(value)[:SHOWN]!r}, which is neither text nor a whole number nor true or false")
    return value


def _lists(items: Sequence[Item], name: str) -> pl.Series:
    values = [item.value.get(name) for item in items]
    kinds = set(map(type, values))
    parts = set(map(type, chain.from_iterable(v for v in values if type(v) is list)))
    if not kinds <= {list, NoneType} or not parts <= {str, int}:
        bad = next(i for i in items if not isinstance(i.value.get(name), list | None) or not {type(p) for p in i.value.get(name) or ()} <= {str, int})
        raise QuantLakeError(f"{bad.where}: {name} is {str(bad.value[name])[:SHOWN]!r}, not a list of texts or whole numbers")
    if int in parts:
        values = [v and [str(part) for part in v] for v in values]
    try:
        return pl.Series(name, pa.array(values, pa.large_list(pa.large_string())))  # in polars alone it takes ten times as long
    except UnicodeEncodeError:
        bad = next(item for item, value in zip(items, values, strict=True) if any(SURROGATE.search(part) for part in value or ()))
        raise QuantLakeError(f"{bad.where}: {name} has half of a character") from None
