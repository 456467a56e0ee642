"""Databento's reference data as JSON Lines: corporate actions (also as known at a time) and the security master.

Here: both to corporate actions, instruments and symbols. Not here: adjustment factors, which follow from actions; market data (databento.py).

A line is an object; numbers are read from their text. ``known_at`` is ``ts_record``, when Databento's record was made, and the partition
its UTC date. ``source`` is `databento`, ``instrument_id`` `databento:<security_id>`, ``symbol`` the exchange's own (``local_code``, else
``symbol``), ``source_name`` ``databento/<kind>/<file name>``.

- Actions: ``event`` is Databento's word; ``EVENTS`` says which are actions of ours, others have no ``type`` and stay in raw. ``source_event_id``
  is ``event_unique_id``, ``announced`` ``event_created_date``, ``ex_date`` the first there is of ``ex_date``, ``effective_date`` and ``event_date``,
  ``ratio`` of splits ``ratio_new / ratio_old``, ``amount`` ``gross_dividend`` in ``rate_currency``; ``event_action`` C and D is ``status``.
- Securities: ``figi`` is the listing's; a symbol is mapped from ``listing_date`` (else the record's) to the day after ``delisting_date``: a
  record says nothing of symbols before it.

Format: https://databento.com/docs/schemas-and-data-formats/corporate-actions, .../security-master.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.datasets.reference import corporate_actions, instruments, symbol_map
from quantlake.sources import text
from quantlake.sources.importers import Importer, Recognised, Rows, content, decoded, sha256
from quantlake.sources.provenance import stamped

EVENTS = {"DIV": "dividend", "FSPLT": "split", "RSPLT": "split", "LCC": "symbol_change", "MRGR": "merger", "DMRGR": "spinoff"}
STATUS = {"C": "cancelled", "D": "deleted"}
SECURITY_TYPES = {"EQS": "equity"}
SUFFIX = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
HEAD_BYTES = 65_536
WIDE, PLACE = Context(prec=60), Decimal(1).scaleb(-18)
NUMBER, LARGEST = re.compile(text.NUMBER), Decimal(10) ** 18

Record = Mapping[str, Any]


def recognise(path: Path) -> Recognised:
    """By content: a ``.jsonl`` whose first line has ``security_id`` and what makes its kind."""
    if not SUFFIX.search(path.name):
        return None
    head = content(path, HEAD_BYTES).decode("utf-8", errors="replace").split("\n")[0]
    if '"security_id"' not in head:
        return None
    if '"event_unique_id"' in head:
        return Importer("Databento corporate actions", read_actions)
    if '"listing_created_date"' in head:
        return Importer("Databento security master", read_securities)
    return "Databento adjustment factors" if '"factor"' in head else None


def read_actions(path: Path) -> Rows:
    """Raises ``QuantLakeError`` naming file and line: no JSON object, a field that is missing or of another kind."""
    yield from _read(path, "corporate-actions", {corporate_actions.raw: _action})


def read_securities(path: Path) -> Rows:
    """Raises as ``read_actions``."""
    yield from _read(path, "security-master", {instruments.raw: _instrument, symbol_map.raw: _symbol})


def _read(path: Path, kind: str, made: Mapping[Stream, Callable[["Fields"], Record]]) -> Rows:
    raw = content(path)
    lines = text.lines(decoded(raw, str(path))).to_list()
    if not lines:
        raise QuantLakeError(f"{path} is empty; fetch it again")
    records = [Fields(_object(line, where), where) for n, line in enumerate(lines, 1) for where in [f"{path} line {n}"]]
    tables = {stream: [make(record) for record in records] for stream, make in made.items()}
    name = f"databento/{kind}/{path.name.removesuffix('.gz')}".lower()
    for stream, rows in tables.items():
        types = pl.DataFrame(wire_arrow(stream).empty_table()).schema
        frame = pl.DataFrame(rows, schema={column: types[column] for column in rows[0]})
        numbered = frame.with_columns(source=pl.lit("databento"), line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
        yield stream, stamped(stream, numbered, name, sha256(raw), "exact")


def _object(line: str, where: str) -> Record:
    """Numbers as their text."""
    try:
        found = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except (json.JSONDecodeError, RecursionError) as error:
        raise QuantLakeError(f"{where} is not JSON: {line[: text.SHOWN]!r}; a cut file? Fetch it again") from error
    if not isinstance(found, dict):
        raise QuantLakeError(f"{where} is {line[: text.SHOWN]!r}, not an object")
    return found


@dataclass(frozen=True)
class Fields:
    """A record's fields by kind; null is None. Each raises ``QuantLakeError`` naming line and field where its value is of another kind."""

    record: Record
    where: str

    def text(self, name: str) -> str | None:
        found = self.record.get(name)
        if found is not None and not isinstance(found, str):
            raise self._wrong(name, "no text")
        return found or None

    def needed(self, name: str) -> str:
        found = self.text(name)
        if found is None:
            raise self._wrong(name, "what this record cannot be without")
        return found

    def date(self, name: str) -> date | None:
        found = self.text(name)
        try:
            return date.fromisoformat(found) if found else None
        except ValueError as error:
            raise self._wrong(name, "no date") from error

    def time(self, name: str) -> datetime:
        try:
            found = datetime.fromisoformat(self.needed(name))
        except ValueError as error:
            raise self._wrong(name, "no time") from error
        if found.tzinfo is None:
            raise self._wrong(name, "without an offset from UTC")
        return found.astimezone(UTC)

    def number(self, name: str) -> Decimal | None:
        found = self.text(name)
        if found is None:
            return None
        if not NUMBER.match(found) or abs(Decimal(found)) >= LARGEST:
            raise self._wrong(name, "no number that decimal(38,18) holds")
        return WIDE.quantize(Decimal(found), PLACE)

    def below(self, name: str) -> "Fields":
        found = self.record.get(name)
        if found is not None and not isinstance(found, dict):
            raise self._wrong(name, "no object")
        return Fields(found or {}, f"{self.where}, {name}")

    def _wrong(self, name: str, what: str) -> QuantLakeError:
        return QuantLakeError(f"{self.where}: {name} is {str(self.record.get(name))[: text.SHOWN]!r}, {what}")


def _action(record: Fields) -> Record:
    kind, old, new = EVENTS.get(record.needed("event")), record.number("ratio_old"), record.number("ratio_new")
    days = [day for name in ("ex_date", "effective_date", "event_date") if (day := record.date(name))]
    ex_date = days[0] if days else None
    return {
        "instrument_id": _identity(record),
        "symbol": _printed(record),
        "type": kind,
        "event": record.needed("event"),
        "ex_date": ex_date,
        "event_time": datetime.combine(ex_date, time(), UTC) if ex_date else record.time("ts_record"),
        "announced": record.date("event_created_date"),
        "record_date": record.date("record_date"),
        "pay_date": record.date("payment_date"),
        "ratio": WIDE.quantize(WIDE.divide(new, old), PLACE) if kind == "split" and old and new else None,
        "amount": record.below("rate_info").number("gross_dividend") if kind == "dividend" else None,
        "currency": record.text("rate_currency"),
        "source_event_id": record.needed("event_unique_id"),
        "status": STATUS.get(record.needed("event_action"), "active"),
        "known_at": record.time("ts_record"),
    }


def _instrument(record: Fields) -> Record:
    cik = record.text("cik")
    return {
        "instrument_id": _identity(record),
        "asset_class": SECURITY_TYPES.get(record.text("security_type") or ""),
        "name": record.text("issuer_name"),
        "currency": record.text("trading_currency"),
        "lot_size": record.number("lot_size"),
        "listed": record.date("listing_date"),
        "delisted": record.date("delisting_date"),
        "figi": record.text("figi"),
        "isin": record.text("isin"),
        "cik": cik.zfill(10) if cik else None,
        "event_time": record.time("ts_effective"),
        "known_at": record.time("ts_record"),
    }


def _symbol(record: Fields) -> Record:
    delisted = record.date("delisting_date")
    return {
        "venue": record.needed("operating_mic").lower(),
        "symbol": _printed(record),
        "valid_from": record.date("listing_date") or record.time("ts_effective").date(),
        "valid_to": delisted + timedelta(days=1) if delisted else None,
        "instrument_id": _identity(record),
        "event_time": record.time("ts_effective"),
        "known_at": record.time("ts_record"),
    }


def _identity(record: Fields) -> str:
    return f"databento:{record.needed('security_id')}"


def _printed(record: Fields) -> str:
    return record.text("local_code") or record.needed("symbol")
