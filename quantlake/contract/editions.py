"""Editions of complete files: which versions of a file count, since when, and what a newer one took away.

Here: the rule, over raw rows of one ``complete`` stream and the curated rows that follow from them. Not here: versions of a key.

A version of a file (``source_name``, ``source_version``) counts for a date once raw holds all ``source_records`` of its records there;
it is dated by the broker's time of the last of these. Later ones replace earlier ones in the order in which they became whole; a
version seen before adds nothing, whenever it returns. Rows without ``source_version`` or ``source_records`` are of no file.

Where a table's versions lie across partitions, what moves in a file moves to another date, so there a file's editions count as a whole: once
raw holds all ``file_records``, on whatever dates. Such a file with several versions is judged over all its rows (``across``).
"""

import polars as pl

FILE = ["source_name", "source_version"]
OF_DATE = [*FILE, "partition_date"]
ACROSS = {"source_name", "source_version", "file_records", "line_number"}
"""The columns by which a stream tells its files as a whole."""
NONE = pl.DataFrame(
    schema={
        "source_name": pl.String, "source_version": pl.String, "partition_date": pl.Date, "_edition": pl.Int64,
        "_arrived": pl.Datetime("us", "UTC"),
    }
)  # fmt: skip


def whole(rows: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Raw rows (arrival order) of whole editions and of no file, each record once; and the editions after the first of each file.

    The editions have ``source_name``, ``source_version``, ``partition_date``, ``_edition`` (the first of that date is 0) and ``_arrived``;
    files of one edition of the date are left out.
    """
    frame = rows.with_row_index("_at").collect()
    record: list[str] = [c for c in ("line_number", "item_index") if c in frame.columns]
    filed = pl.all_horizontal(pl.col(c).is_not_null() for c in (*FILE, "source_records"))
    of_files = frame.filter(filed)
    if not of_files.height:
        return frame.drop("_at").lazy(), NONE
    counts = _counts(of_files, OF_DATE, record)
    if (counts["records"] < counts["rows"]).any():  # sent again: the first arrival of each record is the record
        of_files = of_files.unique([*OF_DATE, *record], keep="first", maintain_order=True)
        counts = _counts(of_files, OF_DATE, record)
    counted = counts.filter(pl.col("records") >= pl.col("source_records"))
    if counted.height < counts.height or of_files.height < frame.select(filed.sum()).item():
        of_files = of_files.join(counted.select(OF_DATE), on=OF_DATE, how="semi", maintain_order="left")
        frame = pl.concat([frame.filter(~filed), of_files]).sort("_at")
    order = pl.col("_at").rank("ordinal").over("source_name", "partition_date").cast(pl.Int64) - 1
    editions = counted.with_columns(_edition=order).filter(pl.col("_edition").max().over("source_name", "partition_date") > 0)
    return frame.drop("_at").lazy(), editions.select(NONE.columns).cast(NONE.schema)


def several(rows: pl.DataFrame) -> pl.Series:
    """The names of files of which rows of several versions are there."""
    named = rows.filter(pl.col("source_version").is_not_null()).group_by("source_name").agg(pl.col("source_version").n_unique().alias("n"))
    return named.filter(pl.col("n") > 1)["source_name"].sort()


def across(rows: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """As ``whole``, for files with several versions over all dates of ``rows``, for the others by date.

    The editions are of files with several whole ones alone, of no ``partition_date``, and have ``_ends`` too: when the next arrived.
    """
    frame = rows.with_row_index("_row").collect()
    record: list[str] = [c for c in ("line_number", "item_index") if c in frame.columns]
    manifold = pl.col("source_name").is_in(several(frame).implode())
    filed = manifold & pl.all_horizontal(pl.col(c).is_not_null() for c in (*FILE, "file_records"))
    of_files = frame.filter(filed).unique([*FILE, *record], keep="first", maintain_order=True)
    counts = of_files.group_by(FILE, maintain_order=True).agg(
        pl.len().alias("records"), pl.col("file_records").max(), pl.col("_timestamp").max().alias("_arrived"), pl.col("_row").max()
    )
    counted = counts.filter(pl.col("records") >= pl.col("file_records")).sort("_row")
    editions = counted.with_columns(
        _edition=pl.int_range(pl.len()).over("source_name").cast(pl.Int64), _ends=pl.col("_arrived").shift(-1).over("source_name")
    )
    by_date, _ = whole(frame.filter(~filed.fill_null(False)).lazy())
    kept = pl.concat([by_date.collect(), of_files.join(counted.select(FILE), on=FILE, how="semi", maintain_order="left")])
    return kept.sort("_row").drop("_row").lazy(), editions.select(*FILE, "_edition", "_arrived", "_ends")


def pieces(frame: pl.DataFrame, keys: list[str], editions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Curated rows with their ``keys``, of files that have ``editions`` (of ``across``) only while these counted; and what they ended.

    A row of an edition that could be known before the edition arrived is known when it did, if no later row of its key could be; one of an
    edition that had been replaced by then never was. What the next edition has no row of by its arrival ends then (as ``ended``).
    """
    of_files = frame.drop("_edition", strict=False).join(editions, on=FILE, how="left", maintain_order="left")
    alone = of_files.filter(pl.col("_edition").is_null())
    filed = of_files.filter(pl.col("_edition").is_not_null()).with_row_index("_nth")
    before_it = (pl.col("_edition") > 0) & (pl.col("known_at") <= pl.col("_arrived"))
    within = ~before_it & (pl.col("_ends").is_null() | (pl.col("known_at") < pl.col("_ends")))
    at_once = filed.filter(before_it).sort("known_at", "_nth").unique(["source_name", "_edition", *keys], keep="last", maintain_order=True)
    kept = pl.concat([filed.filter(within), at_once.with_columns(known_at="_arrived")]).sort("_nth").drop("_nth")
    shown = filed.filter(pl.col("_ends").is_not_null() & (pl.col("known_at") <= pl.col("_ends")))
    gone = shown.select("source_name", pl.col("_edition") + 1, *keys, known_at="_ends").unique(["source_name", "_edition", *keys]).join(
        at_once.select("source_name", "_edition", *keys), on=["source_name", "_edition", *keys], how="anti", nulls_equal=True
    )
    ends = gone.select(*keys, "known_at", _order=2 * pl.col("_edition") - 1)
    return pl.concat([alone, kept]).drop("_arrived", "_ends"), ends


def dated(rows: pl.LazyFrame, editions: pl.DataFrame) -> pl.LazyFrame:
    """Curated rows with ``_edition`` (null: of a file of one edition, or of none); a later edition's are known when it arrived at the earliest."""
    known = pl.when(pl.col("_edition") > 0).then(pl.max_horizontal("known_at", "_arrived")).otherwise("known_at")
    joined = rows.join(editions.lazy(), on=OF_DATE, how="left", maintain_order="left")
    return joined.with_columns(known_at=known).drop("_arrived")


def ended(frame: pl.DataFrame, keys: list[str], editions: pl.DataFrame) -> pl.DataFrame:
    """What editions took away: the ``keys`` (with ``partition_date``) of rows (with ``_edition``) that the next edition of their file lacks.

    With ``known_at``: when the next edition arrived, or when the row could be known, if later; and ``_order``, before the rows of
    that edition.
    """
    file = ["source_name", "_edition"]  # keys have the date
    held = frame.filter(pl.col("_edition").is_not_null()).select(*file, *keys, "known_at")
    following = editions.with_columns(_edition=pl.col("_edition") - 1).select(*file, "partition_date", "_arrived")
    held_next = held.with_columns(_edition=pl.col("_edition") - 1).select(*file, *keys)
    gone = held.join(following, on=[*file, "partition_date"]).join(held_next, on=[*file, *keys], how="anti", nulls_equal=True)
    return gone.select(*keys, known_at=pl.max_horizontal("known_at", "_arrived"), _order=2 * pl.col("_edition") + 1)


def _counts(rows: pl.DataFrame, by_file: list[str], record: list[str]) -> pl.DataFrame:
    return rows.group_by(by_file, maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.struct(record).n_unique().alias("records"),
        pl.col("source_records").max(),
        pl.col("_timestamp").max().alias("_arrived"),
        pl.col("_at").max(),
    )
