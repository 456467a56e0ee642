"""From the text of messages to typed columns: JSON, exact decimals, times.

Here: what parsers of all venues need. Not here: what a venue's fields mean (its own module), the shapes of tables (rows.py).

DuckDB reads the JSON, since what does not fit a wanted shape is null there, where polars and Arrow refuse the whole frame. It would
read ``0.1000000000000000055`` as a float, ``[1,]`` and ``NaN`` as JSON. So bare numbers become strings first, and those payloads go.
"""

from collections.abc import Mapping, Sequence

import polars as pl

PRICE = pl.Decimal(38, 18)
TIME = pl.Datetime("us", "UTC")
PAIRS = '[["VARCHAR"]]'
LAST_SECOND = 253_402_300_799  # of the year 9999; what is later is no time

_STRING = r'"(?:[^"\\]|\\.)*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# Strings and all else up to a number that is a whole value: 100 MB a second and core. In JSON a match begins where the last ended,
# so none begins in a string; to that end there is a number after the last string too (_END). Where the text is no JSON a number in a
# string may be quoted: the string then ends before it, and a digit follows, which is no JSON either.
_END = ",0"
_TO_NUMBER = rf'((?s:{_STRING}|[^"0-9\-])*)({_NUMBER})(\s*(?:[,\]}}]|$))'
_LENIENT = (r"[nN][aA][nN]|[iI][nN][fF]", r",\s*[\]}]")
_PLAIN = r"^-?[0-9]+(?:\.[0-9]{0,18}0*)?$"
_EXPONENT = r"^-?([0-9]+)(?:\.([0-9]*))?[eE]([+-]?[0-9]+)$"


Paths = str | tuple[str, ...]
"""A JSON path, or several, of which the first that has a value counts."""


def of_websocket(messages: pl.DataFrame, word: str) -> pl.DataFrame:
    """What came over a websocket and has the word, so that most of a venue's messages need not be read for each table."""
    return messages.filter(pl.col("transport") == "websocket", pl.col("payload").str.contains(word, literal=True))


def of_rest(messages: pl.DataFrame, request: str) -> pl.DataFrame:
    """What a request answered whose path and query match, with the first group as ``symbol``."""
    return messages.with_columns(symbol=pl.col("channel").str.extract(request)).filter(
        pl.col("transport") == "rest", pl.col("symbol").is_not_null()
    )


def fields(
    messages: pl.DataFrame, texts: Mapping[str, Paths], lists: Mapping[str, Paths] | None = None, shape: str = PAIRS
) -> pl.DataFrame:
    """Columns of the messages whose payload is JSON, in their order, with ``row``.

    ``texts``: a string's or number's text, verbatim; JSON of what is nested; null: absent. ``lists``: lists (or objects) of
    DuckDB's ``shape``, null where the value is another, with null elements where one is of another kind.
    """
    quoted = messages.lazy().select("row", payload=_quoted(pl.col("payload"))).collect()
    refused = quoted.filter(_lenient(pl.col("payload"))).filter(
        _lenient(pl.col("payload").str.replace_all(f"(?s){_STRING}", '""'))
    )
    strict = quoted.join(refused, on="row", how="anti", maintain_order="left") if refused.height else quoted
    read = _query(strict, [_paths(p) for p in texts.values()], [_paths(p) for p in (lists or {}).values()], shape)
    return read.rename(
        {f"text_{i}": name for i, name in enumerate(texts)} | {f"list_{i}": name for i, name in enumerate(lists or {})}
    )


def _query(
    messages: pl.DataFrame, texts: Sequence[tuple[str, ...]], lists: Sequence[tuple[str, ...]], shape: str
) -> pl.DataFrame:
    import duckdb

    paths = list(dict.fromkeys(path for alternatives in texts for path in alternatives))
    all_texts = ", ".join(f"'{path}'" for path in paths)
    columns = [f"coalesce({', '.join(f'texts[{paths.index(p) + 1}]' for p in ps)}) AS text_{i}" for i, ps in enumerate(texts)]
    shaped = [[f"from_json(json_extract(payload, '{path}'), '{shape}')" for path in alternatives] for alternatives in lists]
    columns += [f"coalesce({', '.join(alternatives)}) AS list_{i}" for i, alternatives in enumerate(shaped)]
    sql = f"""
        SELECT row, {", ".join(columns)}
        FROM (SELECT row, payload, json_extract_string(payload, [{all_texts}]) AS texts FROM messages WHERE json_valid(payload))
    """
    with duckdb.connect() as connection:
        connection.register("messages", messages.to_arrow(compat_level=pl.CompatLevel.oldest()))
        return pl.DataFrame(pl.from_arrow(connection.sql(sql).to_arrow_table())).sort("row")


def _paths(paths: Paths) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else paths


def _quoted(payload: pl.Expr) -> pl.Expr:
    """Bare numbers as strings."""
    return (payload + _END).str.replace_all(_TO_NUMBER, '${1}"${2}"${3}').str.strip_suffix(',"0"')


def _lenient(payload: pl.Expr) -> pl.Expr:
    """Whether there is what DuckDB reads though it is no JSON, or the same in a string."""
    return pl.any_horizontal(payload.str.contains(pattern) for pattern in _LENIENT)


def named(payload: pl.Expr, *paths: str) -> pl.Expr:
    """The first of the paths that has a text, of each payload; null where none has, and where it is no JSON."""

    def of(payloads: pl.Series) -> pl.Series:
        messages = payloads.rename("payload").to_frame().with_row_index("row")
        found = fields(messages.drop_nulls(), {f"p{i}": path for i, path in enumerate(paths)})
        first = found.select("row", text=pl.coalesce(pl.exclude("row")))
        return messages.select("row").join(first, on="row", how="left", maintain_order="left")["text"]

    return payload.map_batches(of, return_dtype=pl.String)


def decimal(text: pl.Expr) -> pl.Expr:
    """Decimal text, an exponent allowed, as decimal(38,18); null where it is none, or does not fit exactly."""
    # Groups cost ten times a match, so only where there is an exponent.
    parts = pl.when(text.str.contains("[eE]")).then(text).str.extract_groups(_EXPONENT)
    whole, fraction = parts.struct[0], parts.struct[1].fill_null("")
    exponent = parts.struct[2].cast(pl.Int64, strict=False)
    digits = pl.concat_str(whole, fraction)
    trailing = digits.str.len_bytes().cast(pl.Int64) - digits.str.strip_chars_end("0").str.len_bytes().cast(pl.Int64)
    places = fraction.str.len_bytes().cast(pl.Int64) - trailing - exponent
    exact = text.str.contains(_PLAIN) | ((places <= 18) & exponent.is_between(-1000, 1000))
    return pl.when(exact).then(text).cast(PRICE, strict=False)


def integer(text: pl.Expr) -> pl.Expr:
    """Whole numbers of 64 bits; null: none, or too large."""
    return text.cast(pl.Int64, strict=False)


def seconds(text: pl.Expr) -> pl.Expr:
    """Seconds since 1970 as decimal text, as a time in UTC; what is finer than a microsecond is cut."""
    whole = integer(text.str.extract(r"^([0-9]{1,12})(?:\.[0-9]*)?$"))
    micros = integer(text.str.extract(r"^[0-9]+\.([0-9]{1,6})").str.pad_end(6, "0")).fill_null(0)
    return _time(whole * 1_000_000 + micros)


def milliseconds(text: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970 as a whole number, as a time in UTC."""
    return _time(integer(text.str.extract(r"^([0-9]{1,15})$")) * 1000)


def microseconds(text: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 as a whole number, as a time in UTC; 0, which some send for an unknown time, is null."""
    micros = integer(text.str.extract(r"^([0-9]{1,18})$"))
    return _time(pl.when(micros > 0).then(micros))


def iso(text: pl.Expr) -> pl.Expr:
    """``2021-07-22T22:36:10.014Z`` as a time in UTC; what is finer than a microsecond is cut."""
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False).dt.replace_time_zone("UTC")


def _time(micros: pl.Expr) -> pl.Expr:
    return pl.when(micros.is_between(0, LAST_SECOND * 1_000_000)).then(micros).cast(TIME)
