"""Amounts of 256 bits as decimal text: which texts are one."""

import polars as pl
import pytest

from quantlake.datasets.onchain import common

MOST = 2**256 - 1


@pytest.mark.parametrize(("text", "bad"), [
    ("0", False), ("7", False), (str(MOST), False), (str(-(2**255)), False), (None, None),
    (str(MOST + 1), True), (str(10**78), True), ("9" * 78, True), ("", True), ("-0", True), ("007", True), ("+1", True), ("1.0", True), ("1e3", True), ("0x1", True),
])  # fmt: skip
def test_what_an_amount_is(text: str | None, bad: bool | None) -> None:
    check = common.exact(common.amount("value", "x"))
    assert pl.DataFrame({"value": [text]}, {"value": pl.String}).select(check.bad).item() == bad
