"""SQL over whole numbers of up to 256 bits kept as decimal text: the same names in DuckDB and in ClickHouse.

``u256(x)`` and ``i256(x)`` (signed) are numbers to compare, order, add and subtract with (DuckDB multiplies and divides them as floats); ``u256_sum(x)`` and ``i256_sum(x)`` are exact sums, as
decimal text (of no rows NULL in DuckDB, ``0`` in ClickHouse). DuckDB's BIGNUM has no limit; ClickHouse's sums end in an error where they
leave 256 bits, which its own ``sum`` would wrap around.
"""

def _duckdb_number(pattern: str) -> str:
    """Text that is no whole number is an error: a plain cast rounds it."""
    wrong = "error('no whole number of this kind: ' || CAST(x AS VARCHAR))"
    return f"CASE WHEN x IS NULL THEN NULL WHEN regexp_full_match(CAST(x AS VARCHAR), '{pattern}') THEN CAST(x AS BIGNUM) ELSE CAST({wrong} AS BIGNUM) END"


DUCKDB = tuple(
    f"CREATE MACRO {name}(x) AS {body}"
    for kind, number in (("u256", _duckdb_number("[0-9]+")), ("i256", _duckdb_number("-?[0-9]+")))
    for name, body in ((kind, number), (f"{kind}_sum", f"CAST(sum({number}) AS VARCHAR)"))
)


def _clickhouse_sum(number: str, limit: str) -> str:
    """The sum of upper and of lower halves, neither of which can overflow, tell whether the whole one did."""
    half = f"toUInt256('{1 << 128}')"
    low = f"sum(bitAnd(reinterpretAsUInt256({number}(x)), {half} - 1))"
    high = f"sum(toInt256(bitShiftRight({number}(x), 128)))"
    return f"if(throwIf({high} + toInt256(intDiv({low}, {half})) {limit}, 'a sum does not fit 256 bits'), '', toString(sum({number}(x))))"


CLICKHOUSE = {
    "u256": "toUInt256(x)",
    "i256": "toInt256(x)",
    "u256_sum": _clickhouse_sum("toUInt256", f">= toInt256('{1 << 128}')"),
    "i256_sum": _clickhouse_sum("toInt256", f"NOT BETWEEN toInt256('{-(1 << 127)}') AND toInt256('{(1 << 127) - 1}')"),
}
