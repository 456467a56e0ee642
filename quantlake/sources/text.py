"""Lines and cells of comma separated text, checked: what the importers of CSV files share.

Here: text to lines, cells that match a pattern, exact decimals of any notation; an error names file and line. Not here: a format's
columns (lean, csv_bars), typing to a contract (importers.py). No quoting: none of the formats read here has it.
"""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import QuantLakeError
from quantlake.sources.importers import decimals, relabelled

NUMBER = r"^-?[0-9]{1,18}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"
"""A decimal number as programs print it; ``exact`` reads what matches."""
NOT_NEGATIVE = r"^[0-9]{1,18}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"
INTEGER_DIGITS, WIDE_DIGITS = 20, 76  # of decimal(38,18); of all digits of the widest decimal
FLOAT_DIGITS = (15, 17)  # significant digits with which programs print a 64-bit float
SHOWN = 80


def lines(text: str) -> pl.Series:
    """The text's lines; a newline at its end, or none, makes no further one."""
    found = pl.Series("line", text.removesuffix("\n").split("\n") if text else [], dtype=pl.String)
    return found.str.strip_suffix("\r")


def cells(lines: pl.Series, patterns: Mapping[str, str], where: str, first_line: int = 1) -> pl.DataFrame:
    """Text columns named as ``patterns``, each cell matching its own (an empty pattern: any).

    Raises ``QuantLakeError`` naming the first line that has another number of columns, else the first that does not match.
    """
    columns = lines.str.count_matches(",", literal=True) + 1
    if (wrong := (columns != len(patterns)).arg_true()).len():
        row = wrong[0]
        found = repr(lines[row][:SHOWN])
        raise QuantLakeError(f"{where} line {row + first_line} has {columns[row]} columns, not {len(patterns)}: {found}")
    split = lines.str.split_exact(",", len(patterns) - 1).struct.rename_fields(list(patterns)).struct.unnest()
    checked = [(c, p) for c, p in patterns.items() if p]
    for row, column in sorted((row, c) for c, p in checked for row in (~split[c].str.contains(p)).arg_true().head(1)):
        raise QuantLakeError(f"{where} line {row + first_line}: {column} cannot be {split[column][row][:SHOWN]!r}")
    return split


def exact(text: pl.Series, where: str, shift: int = 0, first_line: int = 1, floats: bool = False, record: str = "line") -> pl.Series:
    """Numbers (``NUMBER``, or null) divided by 10^shift, exactly, as decimal(38,18).

    ``floats``: a number of ``FLOAT_DIGITS`` is the text of a 64-bit float, which is inexact itself; what of it lies beyond the 18th decimal
    place is rounded half to even. Raises ``QuantLakeError`` naming the line (what the file's records are called) of a number that
    decimal(38,18) cannot hold.
    """
    plain = rf"^-?[0-9]{{1,16}}(\.[0-9]{{1,{18 - shift}}})?$"
    other = ~text.str.contains(plain).fill_null(True)
    if not other.any():
        return decimals(text, shift)
    values = decimals(pl.select(pl.when(~other).then(text)).to_series(), shift)
    read = _wide(text.filter(other), f"{where} {record}", shift, other.arg_true() + first_line, floats)
    return pl.Series(values=pc.replace_with_mask(_arrow(values).cast(pa.decimal128(38, 18)), _arrow(other), read))


def _wide(text: pl.Series, where: str, shift: int, line_numbers: pl.Series, floats: bool) -> pa.Array:
    """Numbers in exponent notation or with many places, by way of a decimal of 76 digits."""
    places, wide_places = 18 - shift, WIDE_DIGITS - INTEGER_DIGITS - shift
    parts = text.str.extract_groups(r"^-?0*(?<whole>[0-9]*)(?:\.(?<places>[0-9]*?)0*)?(?:[eE](?<exponent>[+-]?[0-9]+))?$").struct.unnest()
    whole, fraction = (parts[c].fill_null("") for c in ("whole", "places"))
    significant = (whole + fraction).str.strip_chars_start("0").str.len_bytes().cast(pl.Int64)
    text = text.set(significant == 0, "0")
    exponent = parts["exponent"].cast(pl.Int64).fill_null(0).set(significant == 0, 0)
    for row in (significant - fraction.str.len_bytes().cast(pl.Int64) + exponent > INTEGER_DIGITS + shift).arg_true().head(1):
        raise QuantLakeError(f"{where} {line_numbers[row]}: {text[row]} is too large for decimal(38,18)")
    tiny = fraction.str.len_bytes().cast(pl.Int64) - exponent > wide_places
    wide = pc.cast(_arrow(pl.select(pl.when(~tiny).then(text)).to_series()), pa.decimal256(WIDE_DIGITS, wide_places))
    rounded = pc.round(wide, ndigits=places, round_mode="half_to_even")
    lost = pl.Series(values=pc.not_equal(wide, rounded)).fill_null(True)
    excused = ~tiny & (significant.is_between(*FLOAT_DIGITS)) if floats else pl.Series([False]).new_from_index(0, len(text))
    for row in (lost & ~excused).arg_true().head(1):
        raise QuantLakeError(f"{where} {line_numbers[row]}: decimal(38,18) cannot hold {text[row]} exactly")
    return relabelled(pc.cast(rounded, pa.decimal128(38, places)))


def _arrow(values: pl.Series) -> pa.Array:
    return values.to_arrow(compat_level=pl.CompatLevel.oldest())
