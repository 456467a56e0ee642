"""SEC documents: the recorded ones whole, what their rows say, and what is refused by name."""

import contextlib
import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.reference import filing_index, filings, fundamentals
from quantlake.sources import replay, sec
from quantlake.sources.sec.documents import opened
from quantlake.sources.sec.tickers import tickers
from quantlake_tests.recorded import recorded
from quantlake_tests.sources import sec_files as made
from quantlake_tests.sources.files import frame, require_counted


def rows(stream: Stream, path: Path) -> pl.DataFrame:
    found = replay.recognise(path)
    assert found
    return frame(stream, found.read(path))


def refusal(path: Path) -> str:
    found = replay.recognise(path)
    assert found
    with pytest.raises(QuantLakeError) as error:
        list(found.read(path))
    return str(error.value)


def written(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(("cik", "facts", "restated"), [("0000320193", 24579, 425), ("0001835632", 8053, 467)])
def test_recorded_facts_are_read_whole(cik: str, facts: int, restated: int) -> None:
    found = rows(fundamentals.raw, recorded(f"reference/sec_edgar_json/companyfacts/CIK{cik}.json.gz"))
    values = found.group_by(fundamentals.PERIOD).agg(pl.col("value").n_unique())
    assert (len(found), len(values.filter(pl.col("value") > 1))) == (facts, restated)
    assert found.select(fundamentals.raw.key).n_unique() == facts and found["cik"].unique().to_list() == [cik]
    assert (found["partition_date"] == found["filed"]).all()
    require_counted(found.with_columns(item_index=0))


def test_recorded_values_are_those_of_the_text() -> None:
    path = recorded("reference/sec_edgar_json/companyfacts/CIK0001835632.json.gz")
    said = json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal, parse_int=Decimal)
    listed = [f["val"] for concepts in said["facts"].values() for c in concepts.values() for unit in c["units"].values() for f in unit]
    assert rows(fundamentals.raw, path)["value"].to_list() == listed


def test_recorded_submissions_are_read_whole() -> None:
    files = sorted(recorded("reference/sec_edgar_json/submissions").iterdir())
    found = pl.concat(rows(filings.raw, path) for path in files)
    assert (len(found), found["accession"].n_unique()) == (3513, 3513)
    assert found.group_by("cik", "name").len().sort("name", "cik").rows() == [
        ("0001318605", None, 720), ("0000789019", "MICROSOFT CORP", 1006), ("0001835632", "Marvell Technology, Inc.", 787),
        ("0001318605", "Tesla, Inc.", 1000),
    ]  # fmt: skip
    assert (found["partition_date"] == found["accepted_at"].dt.date()).all() and (found["known_at"] == found["accepted_at"]).all()
    require_counted(found.with_columns(item_index=0))


def test_recorded_current_filings_are_read_whole_and_the_page_of_an_outage_is_named() -> None:
    folder = recorded("alt/sec_current_filings_atom")
    planned = replay.plan([folder])
    assert planned.no_format["HTML page"] == (folder / "page_05100.http503.html.gz",)
    with pytest.raises(QuantLakeError, match=r"page_05100.http503.html.gz: no importer for this format \(HTML page\)"):
        replay.plan([folder / "page_05100.http503.html.gz"])
    found = pl.concat(frame(filings.raw, importer.read(path)) for path, importer in planned.files)
    assert (len(planned.files), len(found)) == (51, 5100)
    assert (found["accession"].n_unique(), found.select("accession", "cik", "role").n_unique()) == (3315, 5057)
    assert dict(found.group_by("role").len().iter_rows()) == {"filer": 2100, "reporting": 1390, "issuer": 1039, "subject": 476, "filed by": 95}
    assert sorted(found["partition_date"].unique()) == [date(2025, 12, 11), date(2025, 12, 12)]
    assert found["items"].is_not_null().sum() == 514
    require_counted(found.with_columns(item_index=0))


def test_the_recorded_index_is_read_whole() -> None:
    path = recorded("reference/sec_edgar_json/index_files/form.20200318.idx")
    lines = path.read_text().split("---\n")[-1].strip().split("\n")
    found = rows(filing_index.raw, path)
    assert (len(found), len(lines)) == (4084, 4084)
    whole = found.select(pl.format("edgar/data/{}/{}.txt", pl.col("cik").str.strip_chars_start("0"), "accession")).to_series()
    assert (whole == found["document"]).all()
    assert found["name"].to_list() == [line[12:74].strip() for line in lines] and found["form"].to_list() == [line[:12].strip() for line in lines]


def test_recorded_tickers() -> None:
    found = tickers(opened(recorded("reference/sec_edgar_json/company_tickers.json")))
    assert found.columns == ["cik", "ticker", "title"] and found.row(1) == ("0000320193", "AAPL", "Apple Inc.") and len(found) == 9610


def test_a_fact_says_what_it_is_of(tmp_path: Path) -> None:
    path = made.facts(tmp_path / "CIK0000320193.json", made.FACT | {"start": "2008-09-28", "frame": "CY2009"}, made.FACT | {"fy": None, "val": None})
    first, second = rows(fundamentals.raw, path).to_dicts()
    assert (first["cik"], first["taxonomy"], first["concept"], first["unit"]) == ("0000320193", "us-gaap", "EarningsPerShareDiluted", "USD/shares")
    assert (first["start"], first["end"], first["filed"]) == (date(2008, 9, 28), date(2009, 9, 26), date(2009, 10, 27))
    assert (first["value"], first["fy"], first["fp"], first["frame"], first["form"]) == (Decimal("6.29"), 2009, "FY", "CY2009", "10-K")
    assert first["known_at"] == datetime(2009, 10, 28, 4, tzinfo=UTC) and first["source_name"] == "sec/companyfacts/0000320193"
    assert (second["start"], second["fy"], second["value"], second["line_number"]) == (None, None, None, 2)


@pytest.mark.parametrize(("printed", "value"), [
    ("12345678901234567890.123456789012345678", None), ("123456789012345678.123456789012345678", "123456789012345678.123456789012345678"),
    ("0.000000000000000001", "0.000000000000000001"), ("1.4E-5", "0.000014"), ("-0", "0"), ("0.12345678901234567", "0.12345678901234567"),
])
def test_values_are_exact_or_refused(tmp_path: Path, printed: str, value: str | None) -> None:
    path = made.facts(tmp_path / "facts.json", made.FACT)
    path.write_text(path.read_text().replace("6.29", printed))
    if value is None:
        assert "fact 1: val cannot be '12345678901234567890" in refusal(path)
    else:
        assert rows(fundamentals.raw, path)["value"].to_list() == [Decimal(value)]


@pytest.mark.parametrize(("change", "found"), [
    ({"val": "many"}, "fact 2: val cannot be 'many'"),
    ({"val": True}, "fact 2: val cannot be 'True'"),
    ({"val": float("nan")}, "fact 2: val cannot be 'NaN'"),
    ({"val": 0.1234567890123456789e-9}, ""),
    ({"end": None}, "fact 2: end cannot be 'None'"),
    ({"end": "2009-02-30"}, "fact 2: end cannot be '2009-02-30'"),
    ({"filed": 20091027}, "fact 2: filed cannot be '20091027'"),
    ({"accn": "1"}, "fact 2: accn cannot be '1'"),
    ({"fy": "MMIX"}, "fact 2: fy cannot be 'MMIX'"),
    ({"frame": ["CY2009"]}, "fact 2: frame cannot be"),
    ({"form": "\ud800"}, "fact 2: form cannot be"),
])
def test_a_bad_fact_is_named(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    path = made.facts(tmp_path / "facts.json", made.FACT, made.FACT | change)
    if found:
        assert f"{path} {found}" in refusal(path)
    else:
        assert len(rows(fundamentals.raw, path)) == 2


@pytest.mark.parametrize(("said", "found"), [
    ('{"cik": 1, "facts": {"dei": []}}', "dei is '[]', not an object"),
    ('{"cik": 1, "facts": {"dei": {"A": {}}}}', "dei/A is 'None', not an object"),
    ('{"cik": 1, "facts": {"dei": {"A": {"units": {"USD": 1}}}}}', "dei/A/USD is '1', not a list"),
    ('{"cik": 1, "facts": {"dei": {"A": {"units": {"USD": [1]}}}}}', "dei/A/USD fact 1 is '1', not an object"),
    ('{"cik": "apple", "facts": {}}', "cik is 'apple'; up to 10 digits"),
    ('{"cik": 1, "facts": {}, "facts": {}}', "has 'facts' twice in one object"),
    ('{"cik": 1, "facts": {"dei": ' + "[" * 100_000, "is nested too deeply"),
])
def test_facts_of_another_shape_are_refused(tmp_path: Path, said: str, found: str) -> None:
    assert found in refusal(written(tmp_path, said, "facts.json"))


def test_a_cut_or_packed_file(tmp_path: Path) -> None:
    whole = made.facts(tmp_path / "whole.json", made.FACT)
    packed = written(tmp_path, gzip.compress(whole.read_bytes()), "packed.json.gz")
    assert rows(fundamentals.raw, packed).equals(rows(fundamentals.raw, whole))
    cut = written(tmp_path, whole.read_bytes()[:-30], "cut.json")
    assert f"{cut} line 1 column" in refusal(cut) and "a cut file? Fetch it again" in refusal(cut)
    assert "is not UTF-8" in refusal(written(tmp_path, whole.read_bytes().replace(b"Apple", b"App\xff"), "bytes.json"))


def test_a_filing_and_its_older_page(tmp_path: Path) -> None:
    (main,) = rows(filings.raw, made.submitted(tmp_path / "CIK0000789019.json", made.FILING)).to_dicts()
    assert (main["accession"], main["form"], main["filed"]) == ("0001193125-26-027207", "10-Q", date(2026, 1, 28))
    assert main["accepted_at"] == main["known_at"] == datetime(2026, 1, 28, 21, 7, 34, tzinfo=UTC)
    assert (main["report_date"], main["primary_document"], main["items"], main["role"]) == (date(2025, 12, 31), "msft-20251231.htm", None, None)
    assert (main["cik"], main["name"], main["source_name"]) == ("0000789019", "MICROSOFT CORP", "sec/submissions/CIK0000789019")
    older = made.FILING | {"acceptanceDateTime": "", "reportDate": ""}
    page = written(tmp_path, json.dumps(made.columns(older)), "CIK0000789019-submissions-001.json")
    (old,) = rows(filings.raw, page).to_dicts()
    assert (old["cik"], old["name"], old["accepted_at"], old["partition_date"]) == ("0000789019", None, None, date(2026, 1, 28))
    assert old["known_at"] == datetime(2026, 1, 29, 5, tzinfo=UTC)
    assert "does not say whose filings" in refusal(page.rename(tmp_path / "page.json"))


@pytest.mark.parametrize(("change", "found"), [
    ({"accessionNumber": "x"}, "filing 2: accessionNumber cannot be 'x'"),
    ({"form": ""}, "filing 2: form cannot be 'None'"),
    ({"filingDate": "28.1.2026"}, "filing 2: filingDate cannot be '28.1.2026'"),
    ({"acceptanceDateTime": "2026-01-28T21:07:34"}, "filing 2: acceptanceDateTime cannot be '2026-01-28T21:07:34'"),
    ({"items": 3.5}, ""),
])
def test_a_bad_filing_is_named(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    path = made.submitted(tmp_path / "a.json", made.FILING, made.FILING | change)
    if found:
        assert f"{path} {found}" in refusal(path)
    else:
        assert rows(filings.raw, path)["items"].to_list() == [None, "3.5"]


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    columns = made.columns(made.FILING, made.FILING)
    short = columns | {"form": ["10-K"]}
    assert "its columns have different lengths" in refusal(written(tmp_path, json.dumps({"cik": "1", **short}), "a.json"))
    assert "the column items is 'None', not a list" in refusal(written(tmp_path, json.dumps({**columns, "items": None}), "b.json"))


def test_an_entry_is_a_party_of_a_filing(tmp_path: Path) -> None:
    odd = made.entry(title="8-K - nobody", updated="2025-12-12T00:30:00+00:00", items=())
    page = made.page(made.entry(), odd).replace(b"HOLDING", b"H\xd6LDING")
    first, second = rows(filings.raw, written(tmp_path, page, "page.xml")).to_dicts()
    assert (first["name"], first["cik"], first["role"]) == ("BJ'S & CO (HÖLDING)", "0000320193", "filed by")
    assert (first["form"], first["items"], first["filed"]) == ("8-K", "8.01,9.01", date(2025, 12, 12))
    assert first["accepted_at"] == datetime(2025, 12, 12, 22, 32, 31, tzinfo=UTC) and first["source_name"] == "sec/current/page"
    assert (second["name"], second["cik"], second["role"], second["items"]) == (None, None, None, None)


@pytest.mark.parametrize(("page", "found"), [
    (made.page(made.entry(), made.entry(updated="2025-12-12T17:32:31")), "entry 2: updated cannot be '2025-12-12T17:32:31'"),
    (made.page(made.entry(), made.entry(accession="1-2-3")), "entry 2: id cannot be '1-2-3'"),
    (made.page(made.entry(form="")), "entry 1: category cannot be 'None'"),
    (made.page(made.entry(filed="soon")), "entry 1: summary cannot be '<b>Filed"),
    (made.page(made.entry(), made.entry())[:-200], "is not a whole Atom feed"),
    (made.page(made.entry()).replace(b"</feed>", b"<html></feed>"), "is not a whole Atom feed"),
    (made.page(made.entry().replace("<entry>", "<entry><entry>").replace("</entry>", "</entry></entry>")), "entry 1: id cannot be 'None'"),
])
def test_a_bad_page_is_refused(tmp_path: Path, page: bytes, found: str) -> None:
    assert found in refusal(written(tmp_path, page, "page.xml"))


def test_entities_are_not_expanded_without_end(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE f [<!ENTITY a "aaaaaaaaaa">' + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%s;" % (b"%d" % (n - 1) if n else b"") * 10) for n in range(12)) + b"]>"
    page = made.page(made.entry()).replace(b" ?>\n", b" ?>\n" + bomb, 1).replace(b"Latest", b"&a11;")
    found = replay.recognise(written(tmp_path, page, "page.xml"))
    assert found
    with contextlib.suppress(QuantLakeError):
        assert pa.concat_tables([table for _, table in found.read(tmp_path / "page.xml")]).num_rows == 1


def test_a_line_of_an_index(tmp_path: Path) -> None:
    (line,) = rows(filing_index.raw, written(tmp_path, made.index(made.LINE, "", " "), "form.20200318.idx")).to_dicts()
    assert (line["form"], line["name"], line["cik"], line["filed"]) == ("8-K", "APPLE & CO", "0000320193", date(2020, 3, 18))
    assert (line["accession"], line["document"]) == ("0001140361-20-006155", "edgar/data/320193/0001140361-20-006155.txt")
    assert line["source_name"] == "sec/form_index/form.20200318" and line["known_at"] == datetime(2020, 3, 19, 4, tzinfo=UTC)
    quarter = made.index(made.LINE.replace("20200318", "2020-03-18"))
    assert rows(filing_index.raw, written(tmp_path, quarter, "form.idx"))["filed"].to_list() == [date(2020, 3, 18)]


@pytest.mark.parametrize(("line", "found"), [
    ("8-K", "line 6: it cannot be '8-K'"), (made.LINE.replace("20200318", "20201318"), "line 6: filed cannot be '2020-13-18'"),
    (made.LINE.replace("0001140361-20-006155", "1"), "line 6: it cannot be '8-K"), ("<html>", "line 6: it cannot be '<html>'"), ("", "line 6: it"),
])
def test_a_bad_line_is_named(tmp_path: Path, line: str, found: str) -> None:
    assert found in refusal(written(tmp_path, made.index(made.LINE, line, made.LINE), "form.idx"))


@pytest.mark.parametrize("name", ["CIK0000320193.json", "page.xml", "form.idx", "a.html", "a.json.gz"])
def test_a_page_of_html_instead_is_named(tmp_path: Path, name: str) -> None:
    html = b"\xef\xbb\xbf\n<!doctype HTML><html><body>Unavailable</body></html>"
    assert sec.recognise(written(tmp_path, gzip.compress(html) if name.endswith("gz") else html, name)) == "HTML page"


def test_other_files_are_not_the_secs(tmp_path: Path) -> None:
    for name, content in {"a.json": "{}", "b.json": "[]", "c.xml": "<rss/>", "d.idx": "Master Index", "e.txt": "<html>", "f.json": ""}.items():
        assert sec.recognise(written(tmp_path, content, name)) is None


@pytest.mark.parametrize(("said", "found"), [
    ('{"0": {"cik_str": "x", "ticker": "A", "title": "A"}}', "item 1: cik_str cannot be 'x'"),
    ('{"0": {"cik_str": 1, "title": "A"}}', "item 1: ticker cannot be 'None'"), ('{"0": 1}', "item 1: it cannot be '1'"), ("[]", "company tickers are expected"),
])
def test_bad_tickers_are_named(tmp_path: Path, said: str, found: str) -> None:
    with pytest.raises(QuantLakeError, match=found):
        tickers(opened(written(tmp_path, said, "company_tickers.json")))
