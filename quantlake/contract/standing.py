"""Rows that stand or do not by what another table says: of a chain's rows, those of blocks that are still its own.

Here: the rule, in polars and in SQL. Not here: reading the other table (serving).
"""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Which rows that stand will go on to: those whose ``height`` is not above what is settled of their ``within``.

    That is the greatest ``said`` of the table that they stand by, else the greatest ``height`` there less ``depth``, both where it has a
    value. ``name``: of the boolean column that says so.
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
    stand alone, ``..._versions`` all; both have the boolean columns ``name`` and ``settled.name``.
    """

    by: str
    place: tuple[str, ...]
    value: str
    name: str
    settled: Settled

    @property
    def columns(self) -> set[str]:
        """What a dataset whose rows stand or do not must have."""
        return {*self.place, self.value, self.settled.height, self.settled.within}


def told(rows: pl.LazyFrame, standing: Standing, by: pl.LazyFrame) -> pl.LazyFrame:
    """``rows`` with the columns that say which stand and which are settled; ``by``: the other table's rows of now or then."""
    settled = standing.settled
    said = by.select(*standing.place, _value=pl.col(standing.value), _there=pl.lit(True))
    there = by.filter(pl.col(standing.value).is_not_null())
    heights = there.group_by(settled.within).agg(_settled=pl.coalesce(pl.col(settled.said).max(), pl.col(settled.height).max() - settled.depth))
    stands = (pl.col(standing.value) == pl.col("_value")).fill_null(pl.col("_there").is_null())
    return (
        rows.join(said, on=list(standing.place), how="left", maintain_order="left")
        .join(heights, on=settled.within, how="left", maintain_order="left")
        .with_columns(stands.alias(standing.name))
        .with_columns((pl.col(standing.name) & (pl.col(settled.height) <= pl.col("_settled"))).fill_null(False).alias(settled.name))
        .drop("_value", "_there", "_settled")
    )


def told_sql(rows: str, standing: Standing, by: str) -> str:
    """``told`` of table expressions, as a query in SQL."""
    settled = standing.settled
    place = " AND ".join(f'_r."{c}" = _s."{c}"' for c in standing.place)
    stands = f'coalesce(_r."{standing.value}" = _s."{standing.value}", _s."{standing.place[0]}" IS NULL)'
    height = f'coalesce(max("{settled.said}"), max("{settled.height}") - {settled.depth})'
    there = f'{by} WHERE "{standing.value}" IS NOT NULL'
    return (
        f'SELECT _r.*, {stands} AS "{standing.name}", coalesce({stands} AND _r."{settled.height}" <= _h._settled, false) AS "{settled.name}" '
        f"FROM {rows} _r LEFT JOIN {by} _s ON {place} "
        f'LEFT JOIN (SELECT "{settled.within}" AS _within, {height} AS _settled FROM {there} GROUP BY 1) _h ON _r."{settled.within}" = _h._within'
    )
