"""News and social messages through the real commands: nobody is named anywhere, documents are found again, a second replay adds nothing."""

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pyarrow.parquet as pq
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.wiring import catalog
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.sources.document_server import Answer, played
from quantlake_tests.sources.files import ITEM
from quantlake_tests.sources.messages import SECRETS, lines, stream, tweets, twits
from quantlake_tests.sources.test_feeds import rss

BODY = "<p>An <b>article</b> &amp; more</p>"
SOCIAL = '+key:"curated/alt/social"'
NEWS = '+key:"derived/alt/news_clusters"'


@pytest.fixture(scope="module")
def home() -> Iterator[tuple[Commands, Kafka]]:
    with commands() as ql, announced(ql) as (broker, _):
        yield ql, broker


def replay(ql: Commands, name: str, files: dict[str, str | bytes], select: str) -> None:
    folder = ql.folder / name
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    ql.run("replay", str(folder))
    ql.run("refresh", "--select", select)


def read(path: Path) -> bytes:
    """What a file holds, and what stands in it compressed."""
    plain = path.read_bytes()
    if path.suffix == ".parquet":
        return plain + str(pq.read_table(path).to_pylist()).encode()
    if path.suffix == ".avro":
        return plain + str(list(fastavro.reader(io.BytesIO(plain)))).encode()
    return plain


def said(broker: Kafka) -> Iterator[bytes]:
    """Keys, values and headers of every message there is."""
    for topic in {dataset.topic for dataset in catalog().streams}:
        for batch in broker.read(topic, {}):
            for values in (batch.records.keys, batch.records.values, batch.records.headers or ()):
                yield from (value.encode() if isinstance(value, str) else value for value in values if value)


def test_nobody_is_named_under_the_home_or_on_the_broker(home: tuple[Commands, Kafka]) -> None:
    ql, broker = home
    files = {"janeq_trades.json": json.dumps(stream(*twits())), "OddBob77.jsonl": lines(*tweets())}
    replay(ql, "social", files, SOCIAL)
    rows = ql.sql("select source, count(*) n, count(distinct author_hash) people from curated_alt_social group by all order by all")
    assert rows == [{"source": "stocktwits", "n": 4, "people": 2}, {"source": "twitter", "n": 6, "people": 2}]
    messages = list(said(broker))
    everything = {"a message": b"\n".join(messages)} | {str(p.relative_to(ql.home)): read(p) for p in ql.home.rglob("*") if p.is_file()}
    assert len(everything) > 20
    assert any(b"RT @user" in content for name, content in everything.items() if name.startswith("lake")) and len(messages) >= 9
    found = [(name, secret) for name, content in everything.items() for secret in SECRETS if secret.lower().encode() in content.lower()]
    assert found == []


def test_the_secret_is_the_owners_alone_and_stays(home: tuple[Commands, Kafka]) -> None:
    ql, _ = home
    secret = ql.home / "secrets" / "author"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    before, content = ql.fingerprint("curated/alt/social", "2018-10-10"), secret.read_text()
    replay(ql, "social", {"again.jsonl": lines(*tweets(), *tweets()[:1])}, SOCIAL)
    assert (ql.fingerprint("curated/alt/social", "2018-10-10"), secret.read_text()) == (before, content)


def test_news_of_two_formats_is_one_article_whose_document_is_found_again(home: tuple[Commands, Kafka]) -> None:
    ql, _ = home
    plain, tagged = ITEM | {"description": BODY}, ITEM | {"tickers": "FB"}
    files: dict[str, str | bytes] = {"json_feed.json": json.dumps([plain, tagged]), "xml_feed.xml": rss({"description": BODY} | ITEM)}
    replay(ql, "news", files, NEWS)
    columns = "guid, body, tickers, feeds, object_uri, object_hash"
    (row,) = ql.sql(f"select {columns} from curated_alt_news")
    assert (row["body"], row["tickers"], row["feeds"]) == ("An article & more", ["FB"], ["json_feed", "xml_feed"])
    assert ql.run("object", row["object_uri"]).stdout == BODY and row["object_uri"].endswith(row["object_hash"])
    assert ql.sql("select cluster_id from derived_alt_news_clusters") == [{"cluster_id": "nasdaq/g"}]
    versions = ql.sql("select count(*) n from curated_alt_news_versions")
    replay(ql, "news", {}, NEWS)
    assert ql.sql("select count(*) n from curated_alt_news_versions") == versions
    assert "there is no objects/00/" in ql.error("object", f"objects/00/{'0' * 64}")


def test_live_feeds_reach_the_lake(home: tuple[Commands, Kafka]) -> None:
    ql, _ = home
    config = ql.folder / "feeds.toml"
    items = [{"description": f"<p>{n}</p>", **ITEM, "guid": f"live-{n}"} for n in range(3)]
    with played({"/x": [Answer(200, rss(*items[:2]), {"ETag": "a"}), Answer(200, rss(*items), {"ETag": "b"})]}) as server:
        config.write_text(f'[[feeds]]\nname = "x"\nurl = "{server.url}/x"\npoll_seconds = 0.2\n')
        told = json.loads(ql.run("ingest", "feeds", "--config", str(config), "--for", "3", "--json").stdout)
    assert (told["venue"], told["feeds"], told["acknowledged"], told["lost"], told["errors"]) == ("feeds", ["x"], 3, 0, 0)
    ql.run("refresh", "--select", NEWS)
    rows = ql.sql("select guid, body, known_at > published_at later, object_uri from curated_alt_news where guid like 'live-%' order by guid")
    assert [(r["guid"], r["body"], r["later"]) for r in rows] == [(f"live-{n}", str(n), True) for n in range(3)]
    assert ql.run("object", rows[2]["object_uri"]).stdout == "<p>2</p>"
    assert "--config FILE" in ql.error("ingest", "feeds")
