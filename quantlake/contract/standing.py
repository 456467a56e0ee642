"""Rows that stand or do not by what another table says: of a chain's rows, those of blocks that are still its own.

Here: the rule, in polars and in SQL. Not here: reading the other table (serving).
"""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Which rows that stand will go on to: those whose ``height`` is not above what is settled of their ``within``.

    That is the greatest ``said`` of any version of the table that they stand by, else the greatest ``height`` of its rows that have a
    value, less ``depth``. ``name``: of the boolean column that says so.
    """

    name: str
    height: str
    within: str
    said: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Which rows of a dataset stand: those that the latest rows (or those of then) of the curated table ``by`` do not gainsay.

    One is gainsaid where that table has a row of its ``place`` (columns of both) with another ``value``, or a null. Views show those that
    stand alone, ``..._versions`` all; both have the boolean columns ``name`` and ``settled.name``. ``dated``: a column that is null where a
    source did not say it; beside a row of the same key that has it, one without does not stand.
    """

    by: str
    place: tuple[str, ...]
    value: str
    dated: str
    name: str
    settled: Settled

    @property
    def columns(self) -> set[str]:
        """What a dataset whose rows stand or do not must have."""
        return {*self.place, self.value, self.dated, self.settled.height, self.settled.within}


def told(rows: pl.LazyFrame, standing: Standing, by: pl.LazyFrame, versions: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """``rows`` with the columns that say which stand and which are settled; but for ``dated``, which ``said_twice`` is for.

    ``by``: the other table's rows of now or then, ``versions``: all until then (without them what is settled follows from ``by``).
    """
    settled = standing.settled
    said = by.select(*standing.place, _value=pl.col(standing.value), _there=pl.lit(True))
    within = settled.within
    told_of = (by if versions is None else versions).group_by(within).agg(_said=pl.col(settled.said).max())
    highest = by.filter(pl.col(standing.value).is_not_null()).group_by(within).agg(_highest=pl.col(settled.height).max())
    heights = told_of.join(highest, on=within, how="left").select(within, _settled=pl.coalesce("_said", pl.col("_highest") - settled.depth))
    stands = (pl.col(standing.value) == pl.col("_value")).fill_null(pl.col("_there").is_null())
    return (
        rows.join(said, on=list(standing.place), how="left", maintain_order="left")
        .join(heights, on=within, how="left", maintain_order="left")
        .with_columns(stands.alias(standing.name))
        .with_columns((pl.col(standing.name) & (pl.col(settled.height) <= pl.col("_settled"))).fill_null(False).alias(settled.name))
        .drop("_value", "_there", "_settled")
    )


def said_twice(rows: pl.LazyFrame, standing: Standing, key: tuple[str, ...]) -> pl.LazyFrame:
    """``told`` rows of which those without ``dated`` stand no more, where one of their key has it."""
    dated = rows.filter(pl.col(standing.dated).is_not_null()).select(*key, _dated=pl.lit(True)).unique()
    again = pl.col(standing.dated).is_null() & pl.col("_dated").fill_null(False)
    marked = rows.join(dated, on=list(key), how="left", nulls_equal=True, maintain_order="left")
    return marked.with_columns(pl.col(standing.name, standing.settled.name) & ~again).drop("_dated")


def told_sql(rows: str, standing: Standing, by: str, versions: str, key: tuple[str, ...] = ()) -> str:
    """``told`` of table expressions, as a query in SQL; with a ``key`` also ``said_twice``."""
    settled = standing.settled
    place = " AND ".join(f'_r."{c}" = _s."{c}"' for c in standing.place)
    stands = f'coalesce(_r."{standing.value}" = _s."{standing.value}", _s."{standing.place[0]}" IS NULL)'
    if key:
        same = " AND ".join(f'_d."{c}" IS NOT DISTINCT FROM _r."{c}"' for c in key)
        stands = f'({stands} AND NOT (_r."{standing.dated}" IS NULL AND EXISTS (SELECT 1 FROM {rows} _d WHERE _d."{standing.dated}" IS NOT NULL AND {same})))'
    said = f'SELECT "{settled.within}" AS _within, max("{settled.said}") AS _said FROM {versions} GROUP BY 1'
    highest = f'SELECT "{settled.within}" AS _of, max("{settled.height}") AS _highest FROM {by} WHERE "{standing.value}" IS NOT NULL GROUP BY 1'
    marked = (
        f'SELECT _r.*, {stands} AS "{standing.name}", coalesce(_said, _highest - {settled.depth}) AS _settled '
        f'FROM {rows} _r LEFT JOIN {by} _s ON {place} LEFT JOIN ({said}) ON _r."{settled.within}" = _within '
        f'LEFT JOIN ({highest}) ON _r."{settled.within}" = _of'
    )
    final = f'coalesce("{standing.name}" AND "{settled.height}" <= _settled, false)'
    return f'SELECT * EXCLUDE (_settled), {final} AS "{settled.name}" FROM ({marked})'
