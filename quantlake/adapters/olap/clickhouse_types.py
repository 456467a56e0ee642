"""How names, texts and types are spelt in ClickHouse, and what may go in and come out. Pure; opens nothing."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import QuantLakeError, TableSpec

PARTITION_BY = {"day": "toYYYYMMDD(partition_date)", "month": "toYYYYMM(partition_date)", "year": "toYear(partition_date)"}
_FLOATS = {"halffloat": "Float32", "float": "Float32", "double": "Float64"}


def name(text: str) -> str:
    """An identifier, quoted."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def names(texts: Iterable[str]) -> str:
    """Identifiers, quoted, with commas between."""
    return ", ".join(map(name, texts))


def text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def dates_list(dates: Collection[date]) -> str:
    """Date literals with commas between, in order."""
    return ", ".join(text(str(d)) for d in sorted(dates))


def column_type(kind: pa.DataType, nullable: bool) -> str:
    """The ClickHouse type as ``system.columns`` spells it; arrays are never nullable. Raises ``QuantLakeError`` (none known)."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"Array({column_type(kind.value_type, False)})"
    spelt = _scalar(kind)
    return f"Nullable({spelt})" if nullable else spelt


def _scalar(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return str(kind).replace("int", "Int").replace("u", "U")
    if pa.types.is_floating(kind):
        return _FLOATS[str(kind)]
    if pa.types.is_decimal(kind):
        return f"Decimal({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind) and (kind.unit, kind.tz) == ("us", "UTC"):
        return "DateTime64(6, 'UTC')"
    if pa.types.is_date32(kind):
        return "Date32"
    if pa.types.is_boolean(kind):
        return "Bool"
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return "String"
    raise QuantLakeError(f"no ClickHouse type is known for {kind}; use a type of quantlake.contract")


def table_columns(spec: TableSpec) -> dict[str, tuple[str, str]]:
    """Name -> (type, description) of a table's columns; nullable as the contract says, but never in the key."""
    return {c.name: (column_type(c.type.arrow, c.null and c.name not in spec.key), c.doc) for c in spec.columns}


def refuse_changes(spec: TableSpec, found: Mapping[str, str], partition: str, order: str) -> None:
    """Raise ``QuantLakeError`` where a table (name -> type, partition key, sorting key) cannot become ``spec``'s."""
    wanted = {column: kind for column, (kind, _) in table_columns(spec).items()}
    wrong = [f"{c} is {found[c]}, not {kind}" for c, kind in wanted.items() if found.get(c, kind) != kind]
    wrong += [f"{c} is not in the contract" for c in found if c not in wanted]
    wrong += [f"{c} is new and not nullable" for c, kind in wanted.items() if c not in found and not kind.startswith("Nullable")]
    partition, order = partition.replace("`", ""), order.replace("`", "").strip("()")
    if partition != PARTITION_BY[spec.storage_partition] or order != ", ".join(spec.key):
        wrong.append(f"it is partitioned by {partition} and ordered by {order}")
    if wrong:
        found_wrong = f"{spec.sql_name} in ClickHouse cannot follow its contract: {'; '.join(wrong)}"
        raise QuantLakeError(f"{found_wrong}; undo that, or drop the table and rebuild it")


def definition(rows: pa.Table) -> str:
    """The column list of a table that holds ``rows``. Raises ``QuantLakeError`` for nulls it could not hold."""
    types = {f.name: column_type(f.type, f.nullable) for f in rows.schema}
    _refuse_nulls(rows, types, "an input")
    return ", ".join(f"{name(column)} {kind}" for column, kind in types.items())


def check_rows(spec: TableSpec, dates: Collection[date], rows: pa.Table) -> pa.Table:
    """``rows`` typed as ``spec.arrow``.

    Raises ``QuantLakeError``: a missing column, a null where the table has none, a row of a date not in ``dates``.
    """
    rows = typed(rows, spec.arrow, f"rows for {spec.sql_name}")
    _refuse_nulls(rows, {column: kind for column, (kind, _) in table_columns(spec).items()}, spec.sql_name)
    strange = set(pc.unique(rows["partition_date"]).to_pylist()) - set(dates)
    if strange:
        raise QuantLakeError(f"rows for {spec.sql_name} hold {min(strange)}, which is not among the dates to replace")
    return rows


def _refuse_nulls(rows: pa.Table, types: dict[str, str], what: str) -> None:
    """Raise for a null in a type that has none: ClickHouse would silently store '', 0 or []."""
    for column, kind in types.items():
        values, nested = rows[column], kind.startswith("Array")
        if not kind.startswith("Nullable") and (values.null_count or (nested and pc.list_flatten(values).null_count)):
            raise QuantLakeError(f"{what}: {column} has nulls, which ClickHouse cannot keep in {kind}; fill them")


def typed(rows: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """``rows`` as exactly ``schema``. Raises ``QuantLakeError`` for a missing column or a value that does not fit."""
    missing = [n for n in schema.names if n not in rows.column_names]
    if missing:
        raise QuantLakeError(f"{what}: no column {', '.join(missing)}; found {', '.join(rows.column_names)}")
    try:
        cast = rows.select(schema.names).cast(schema)
        cast.validate(full=True)  # ClickHouse keeps up to 1.7e20 in Decimal(38, 18), Arrow only what is below 1e20
    except (pa.ArrowException, ValueError) as error:
        raise QuantLakeError(f"{what}: {' '.join(str(error).split())}; its columns must fit the contract's types") from None
    return cast
