"""Lazy polars frames of every table.

Here: which rows a path shows, at a time or as they are, and what of a filter reaches the stores. Not here: SQL, the rule of what
was known (``as_known``, ``contract.versions``).
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import reduce

import polars as pl
from polars.io.plugins import register_io_source

from quantlake.contract import Built, Dataset, EmbeddingIndex, QuantLakeError, Rollup, Stream, Table, View
from quantlake.contract.catalog import Catalog
from quantlake.contract.standing import said_twice, told
from quantlake.contract.versions import across, arrived_then, known_then, latest, viewed
from quantlake.ports import Platform
from quantlake.serving.as_known import AsKnown, base_of, moment

Read = Callable[[list[str], pl.Expr | None], Iterator[pl.DataFrame]]  # of which columns; of which dates (None: all)


class Tables:
    """The tables of one home, by path (``layer/family/name``)."""

    def __init__(self, catalog: Catalog, platform: Platform) -> None:
        self._catalog = catalog
        self._platform = platform

    def table(
        self, path: str, as_known_at: datetime | str | None = None, *, versions: bool = False, view: str | None = None
    ) -> pl.LazyFrame:
        """A table's rows in the contract's columns and types, read when collected.

        Shows what the table's SQL name does: raw rows without dead letters and their columns, the latest versions of curated rows
        (``versions``: all, with ``superseded_at``; ``view``: a further view of the table, by name), derived, feature, rollup and
        embedding rows as they are; of a chain's rows those that stand. ``as_known_at`` (ISO text or a time; UTC where it has no offset): the same as known then; derived
        and feature partitions that were not complete then are computed when collected, a rollup shows its derived base's rows in the
        columns both have, an embedding is refused.

        Filters on ``partition_date`` and selections of columns decide which files and columns of the lake are read, and which
        partitions are computed. A lake table stays at the snapshot it had when asked for; rollups and embeddings are read from
        their own store as it is when collected. Raises ``QuantLakeError``.
        """
        dataset = self._catalog[path]
        then = None if as_known_at is None else moment(as_known_at)
        if versions and "versions" not in dataset.views_besides:
            raise QuantLakeError(f"{path} has no versions: only curated tables keep them, and those whose rows may not stand")
        if view is not None and (versions or not isinstance(dataset, Table)):
            raise QuantLakeError(f"{path} has no view {view!r}: a view is of a curated table, and not of all versions")
        rows = self._rows(dataset, then, versions=versions, view=view)
        if not dataset.stands:
            return rows
        by = self._catalog[dataset.stands.by]
        undated = rows.filter(pl.col(dataset.stands.dated).is_null()).head(1).collect().height  # there are few, if any
        rows = told(rows, dataset.stands, self._rows(by, then), self._rows(by, then, versions=True))
        rows = said_twice(rows, dataset.stands, dataset.identity) if undated else rows
        return rows if versions else rows.filter(pl.col(dataset.stands.name))

    def _rows(self, dataset: Dataset, then: datetime | None, *, versions: bool = False, view: str | None = None) -> pl.LazyFrame:
        if isinstance(dataset, Stream):
            rows = self._platform.lake.scan(dataset.spec).filter(pl.col("_error_class").is_null())
            rows = rows.drop("_error_class", "_error", "_value")
            return rows if then is None else rows.filter(arrived_then(then))
        if isinstance(dataset, Table):
            rows = across(self._platform.lake.scan(dataset.spec), dataset)
            if versions:
                return rows if then is None else rows.filter(pl.col("known_at") <= then)
            rows = (latest(rows, dataset) if then is None else rows.filter(known_then(then, dataset))).drop("superseded_at")
            return rows if view is None else viewed(rows, _view(dataset, view))
        if then is not None:
            base = base_of(dataset)
            names = {c.name for c in base.columns}
            rows = _source(base, _known_rows(AsKnown.of(base, then, self._platform.lake)))
            return rows.select(c.name for c in dataset.columns if c.name in names)
        if isinstance(dataset, Built):
            return self._platform.lake.scan(dataset.spec)
        return _source(dataset, self._stored_rows(dataset))

    def _stored_rows(self, dataset: Dataset) -> Read:
        assert isinstance(dataset, Rollup | EmbeddingIndex)
        store = self._platform.olap if isinstance(dataset, Rollup) else self._platform.vectors

        def read(columns: list[str], only: pl.Expr | None) -> Iterator[pl.DataFrame]:
            dates = None
            if only is not None:
                there = pl.DataFrame({"partition_date": list(store.counts(dataset.spec))}, {"partition_date": pl.Date})
                dates = there.filter(only)["partition_date"].to_list()
            yield pl.DataFrame(store.read(dataset.spec, dates, columns))

        return read


def _view(table: Table, name: str) -> View:
    found = next((v for v in table.views if v.name == name), None)
    if found is None:
        raise QuantLakeError(f"{table.path} has no view {name!r}; it has {', '.join(v.name for v in table.views) or 'none'}")
    return found


def _known_rows(known: AsKnown) -> Read:
    def read(columns: list[str], only: pl.Expr | None) -> Iterator[pl.DataFrame]:
        some = known.narrowed(only)
        if some.served:
            yield from some.stored().select(columns).collect_batches(maintain_order=True)
        for frame in some.frames():
            yield frame.select(columns)

    return read


def _source(dataset: Dataset, read: Read) -> pl.LazyFrame:
    """A lazy frame that reads the columns asked for, of the dates that its filters on ``partition_date`` leave."""
    schema = pl.DataFrame(dataset.spec.arrow.empty_table()).schema

    def scan(columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None) -> Iterator[pl.DataFrame]:
        wanted = list(schema) if columns is None else columns
        filtered = [] if predicate is None else predicate.meta.root_names()
        for frame in read([c for c in schema if c in {*wanted, *filtered}], _of_dates(predicate)):
            found = (frame if predicate is None else frame.filter(predicate)).select(wanted)
            yield found if rows is None else found.head(rows)
            if rows is not None and (rows := rows - found.height) <= 0:
                return

    return register_io_source(scan, schema=schema, explain_name=dataset.path)


def _of_dates(predicate: pl.Expr | None) -> pl.Expr | None:
    """What a predicate asks of ``partition_date`` alone; None: nothing."""
    alone = [] if predicate is None else [p for p in _conjuncts(predicate) if set(p.meta.root_names()) == {"partition_date"}]
    return reduce(lambda a, b: a & b, alone) if alone else None


def _conjuncts(predicate: pl.Expr) -> list[pl.Expr]:
    operands = predicate.meta.pop()[::-1]
    if len(operands) == 2 and (operands[0] & operands[1]).meta.eq(predicate):
        return [*_conjuncts(operands[0]), *_conjuncts(operands[1])]
    return [predicate]
