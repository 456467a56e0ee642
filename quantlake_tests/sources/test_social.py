"""Social messages: both services, every way they are kept, authors as hashes alone, and every kind of bad message."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.datasets.alt import social as dataset
from quantlake.sources import replay, social
from quantlake.sources.authors import Authors, anonymous
from quantlake.sources.importers import Importer
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.sources.files import ITEM, frame, require_counted
from quantlake_tests.sources.messages import SECRETS, lines, stream, tweet, tweets, twit, twits

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
AUTHORS = Authors(lambda: "a secret of this deployment, long enough")


def messages(path: Path) -> pl.DataFrame:
    found = social.recognise(path, AUTHORS.hashed)
    assert isinstance(found, Importer), found
    return frame(dataset.raw, found.read(path))


def written(folder: Path, content: object, name: str = "messages.json") -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def shown(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select("message_id", "body", "symbols", "sentiment", "in_reply_to", "reshare_of").rows()


def test_messages_of_stocktwits(tmp_path: Path) -> None:
    rows = messages(written(tmp_path, stream(*twits())))
    assert shown(rows) == [
        ("1", "$AAPL & co > 100, says @user", ["AAPL"], "bullish", None, None),
        ("2", "@user no. Jane, no.", ["AAPL"], None, "1", None),
        ("3", "RT @user: via user", [], "bearish", None, "7"),
        ("4", "https://stocktwits.com/user/message/4 by user (user)", [], None, None, None),
    ]
    assert rows["published_at"].unique().to_list() == [datetime(2020, 8, 26, 21, 49, tzinfo=UTC)]
    assert rows["author_hash"].to_list() == [AUTHORS.hashed("stocktwits", i) for i in ("771234509", "881234509", "771234509", "771234509")]
    assert (rows["source"].unique().to_list(), rows["line_number"].to_list()) == (["stocktwits"], [1, 2, 3, 4])
    assert rows["event_time"].equals(rows["known_at"].alias("event_time"))
    require_counted(rows.with_row_index("item_index"))


def test_tweets(tmp_path: Path) -> None:
    rows = messages(written(tmp_path, tweets()))
    ids = [str(1_050_118_621_198_921_728 + n) for n in range(7)]
    assert shown(rows) == [
        (ids[1], "To $TSLA & beyond", ["TSLA"], None, None, None),
        (ids[2], "RT @user: To $TSLA & beyond", ["TSLA"], None, None, ids[1]),
        (ids[3], "@user @user thanks, user… https://twitter.com/user/status/3", [], None, ids[1], None),
        (ids[4], "$TSLA and $F in full", ["TSLA", "F"], None, None, None),
        (ids[6], "$TSLA in full", ["TSLA"], None, None, None),
        (ids[5], "Says user", ["TSLA"], None, None, ids[1]),
    ]
    assert rows["published_at"].unique().to_list() == [datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)]
    assert rows["author_hash"][0] == AUTHORS.hashed("twitter", "771234509")


@pytest.mark.parametrize("made", [twits, tweets])
def test_nobody_is_found_in_what_is_read(tmp_path: Path, made: Any) -> None:
    read = str(messages(written(tmp_path, made(), "janeq_trades.json")).to_dicts()).lower()
    assert not [secret for secret in SECRETS if secret.lower() in read]


@pytest.mark.parametrize("made", [twits, tweets])
def test_the_ways_they_are_kept_give_the_same(tmp_path: Path, made: Any) -> None:
    said = made()
    kept = {
        "a.json": said, "b.json": {"messages" if made is twits else "statuses": said}, "c.jsonl": lines(*said),
        "d.ndjson.gz": "\n" + "\n".join(map(json.dumps, said)), "e.jsonl": lines(said[:1], said[1:]), "f.json": [[m] for m in said],
    }  # fmt: skip
    read = [messages(written(tmp_path, content, name)).drop("source_name", "source_version") for name, content in kept.items()]
    assert all(rows.equals(read[0]) for rows in read)
    assert len(messages(written(tmp_path, said[0]))) == 1


def test_other_json_is_not_social(tmp_path: Path) -> None:
    issue = {"created_at": "2020-08-26T21:49:00Z", "body": "a bug", "user": {"id": 1, "login": "jane"}}
    for content in ({"created_at": 1}, [ITEM], [], {"messages": []}, "created_at id_str user", [issue]):
        assert social.recognise(written(tmp_path, content), AUTHORS.hashed) is None
    assert social.recognise(written(tmp_path, tweets(), "tweets.txt"), AUTHORS.hashed) is None
    planned = replay.plan([written(tmp_path, stream(*twits())), written(tmp_path, lines(*tweets()), "x.jsonl")], AUTHORS.hashed)
    assert [importer.name for _, importer in planned.files] == ["StockTwits messages", "tweets"]


def test_without_a_secret_nothing_is_read(tmp_path: Path) -> None:
    planned = replay.plan([written(tmp_path, tweets())])
    with pytest.raises(QuantLakeError, match="hashed with a secret; none was given"):
        replay.replay(planned, lambda stream, rows: 0, lambda document: None)


@pytest.mark.parametrize(("made", "change", "found"), [
    (twit, {"id": None}, "id is missing, or no id"),
    (twit, {"id": True}, "id is missing, or no id"),
    (twit, {"user": {}}, "user.id is missing, or no id"),
    (twit, {"user": "janeq_trades"}, "user is not an object"),
    (twit, {"body": None}, "body: there is no text"),
    (twit, {"created_at": "yesterday"}, "created_at is 'yesterday'; it is to be as 2020-08-26T21:49:00Z"),
    (twit, {"created_at": "2020-08-26T21:49:00"}, "created_at is '2020-08-26T21:49:00'"),
    (twit, {"created_at": None}, "created_at is 'None'"),
    (twit, {"symbols": [{"title": "x"}]}, "symbols are no list of objects with a symbol"),
    (twit, {"entities": {"sentiment": {"basic": "Sideways"}}}, "entities.sentiment.basic is neither"),
    (twit, {"body": "\ud83d"}, "body has half of a character"),
    (tweet, {"created_at": "2018-10-10T20:19:24Z"}, "created_at is '2018-10-10T20:19:24Z'; it is to be as Wed Oct 10"),
    (tweet, {"text": 1}, "full_text and text: there is no text"),
    (tweet, {"retweeted_status": [1]}, "retweeted_status is not an object"),
    (tweet, {"entities": {"symbols": 5}}, "symbols are no list"),
])  # fmt: skip
def test_a_bad_message_is_named_and_says_nothing_of_people(tmp_path: Path, made: Any, change: dict[str, Any], found: str) -> None:
    path = written(tmp_path, [made(1), made(2, **change)])
    with pytest.raises(QuantLakeError) as error:
        messages(path)
    assert f"{path} message 2: {found}" in str(error.value)
    assert not [secret for secret in SECRETS if secret in str(error.value)]


def test_what_is_no_message_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match=r"x\.jsonl line 2 message 2: it is not a JSON object"):
        messages(written(tmp_path, lines(tweet(1), 5), "x.jsonl"))
    with pytest.raises(QuantLakeError, match=r"x\.jsonl line 2 message 2: id_str is missing"):
        messages(written(tmp_path, lines(tweet(1), {"delete": {"status": {"id": 1}}}), "x.jsonl"))
    with pytest.raises(QuantLakeError, match=r"x\.jsonl line 2 is not JSON: .*; a cut file\? Fetch it again"):
        messages(written(tmp_path, lines(*tweets()[:2])[:-50], "x.jsonl"))
    with pytest.raises(QuantLakeError, match=r"x\.json line 1 is not JSON"):
        messages(written(tmp_path, json.dumps(stream(*twits()))[:-50], "x.json"))


@pytest.mark.parametrize("within", [False, True])
def test_what_is_nested_too_deeply_is_refused_by_name(tmp_path: Path, within: bool) -> None:
    said, deep = json.dumps(tweet(1)), ("[" * 100_000, "]" * 100_000)
    path = written(tmp_path, said.replace('"lang"', f'"deep": {deep[0]}{deep[1]}, "lang"') if within else deep[0] + said + deep[1])
    with pytest.raises(QuantLakeError, match=r"messages\.json is nested too deeply for messages"):
        messages(path)


def test_texts_without_people() -> None:
    someone = {"user": {"screen_name": "Al", "name": "Apple", "id": 12}, "text": "x"}
    assert anonymous("Al: APPLE's $Apple, applesauce 12 a@b.c @Al @ @x_1.", someone) == "user: user's $Apple, applesauce 12 a@b.c @user @ @user."
    assert anonymous("Ann (x) [y] *", {"user": {"screen_name": "ann(x)", "name": " [y] "}}) == "Ann (x) user *"
    assert anonymous("named\nnobody", {"name": "nobody", "user": None}) == "named\nnobody"


@pytest.mark.parametrize(("made", "text", "person", "found"), [
    (twit, "body", {"username": "tomjerry77", "name": "Tom &amp; Jerry"}, "Thanks user!"),
    (tweet, "text", {"screen_name": "tomjerry77", "name": "Tom &amp; Jerry"}, "Thanks user!"),
    (tweet, "text", {"screen_name": "tomjerry77", "name": "Tom & Jerry"}, "Thanks user!"),
    (tweet, "text", {"screen_name": "tomjerry77", "name": "tom &#38; JERRY &nbsp;"}, "Thanks user!"),
])  # fmt: skip
def test_names_are_escaped_as_texts_are(tmp_path: Path, made: Any, text: str, person: dict[str, Any], found: str) -> None:
    said = made(1, **{text: "Thanks Tom &amp; Jerry!", "user": {"id": 77712345, "id_str": "77712345", **person}})
    assert messages(written(tmp_path, said))["body"].to_list() == [found]


COMPOSED, APART = "Jos\u00e9", "Jose\u0301"


@pytest.mark.parametrize(("text", "name", "found"), [
    ("I am Alice <3 Wonder.", "Alice &lt;3 Wonder", "I am user."),
    (f"{APART}, {COMPOSED}, JOS\u00c9 of Espan\u0303a", COMPOSED, "user, user, user of Espan\u0303a"),
    (f"{APART}, {COMPOSED} of Espan\u0303a", APART, "user, user of Espan\u0303a"),
    (f"Jose, {COMPOSED}fina, {APART}fina, e\u0301", COMPOSED, f"Jose, {COMPOSED}fina, {APART}fina, e\u0301"),
    (f"{COMPOSED} {APART}", "Jose", f"{COMPOSED} {APART}"),
    ("\u00ea\u0323 by Thi\u00ea\u0323n", "Thi\u1ec7n", "\u00ea\u0323 by user"),
    ("GROSS, Gro\u00df, gro\u1e9e and Gro\u017f\u017f\u2026", "Gro\u00df", "user, user, user and user\u2026"),
    ("\u1112\u1161\u11ab \u1100\u1175\u11b7\u110e\u1165\u11af\u1109\u116e", "\uae40\ucca0\uc218", "\u1112\u1161\u11ab user"),
])  # fmt: skip
def test_names_are_found_however_they_are_written(text: str, name: str, found: str) -> None:
    assert anonymous(text, {"user": {"screen_name": "somebody_1", "name": name}}) == found


@pytest.mark.parametrize(("text", "found"), [
    ("@@secretjoe, \uff20widehandle1 \uff20@joe .@joe", "@@user, \uff20user \uff20@user .@user"),
    ("RT@joe rt@joe art@joe.com", "RT@user rt@user art@joe.com"),
    ("\u3055\u3093@joe", "\u3055\u3093@user"),
    ("https://twitter.com/joe/status/3, x.com/joe_1?s=20 HTTPS://Mobile.Twitter.com/Joe", "https://twitter.com/user/status/3, x.com/user?s=20 HTTPS://Mobile.Twitter.com/user"),
    ("twitter.com/#!/joe www.x.com/isaac/status/3 stocktwits.com/joe, stocktwits.com/@joe", "twitter.com/#!/user www.x.com/user/status/3 stocktwits.com/user, stocktwits.com/@user"),
    ("https://stocktwits.com/symbol/AAPL stocktwits.com/message/5", "https://stocktwits.com/symbol/AAPL stocktwits.com/message/5"),
    ("https://x.com/i/web/status/3 twitter.com/search?q=a netflix.com/joe my-x.com/joe", "https://x.com/i/web/status/3 twitter.com/search?q=a netflix.com/joe my-x.com/joe"),
])  # fmt: skip
def test_handles_of_people_the_message_does_not_know(text: str, found: str) -> None:
    assert anonymous(text, {}) == found


def test_ids_of_people_who_are_named_by_a_field() -> None:
    said = {"in_reply_to_user_id_str": "771234509", "in_reply_to_user_id": 881234509, "media": [{"source_user_id": 991234509, "id": 661234509}], "user_id": 12}
    assert anonymous("771234509 881234509 991234509: 661234509 12", said) == "user user user: 661234509 12"


def test_short_names_are_the_authors_own() -> None:
    said = {"user": {"username": "Xi", "name": "J"}, "mentioned": [{"username": "Bo", "name": "Bob"}]}
    assert anonymous("Xi, XI's taxi: J, Bo and Bob", said) == "user, user's taxi: J, Bo and user"


def test_the_authors_handle_is_no_symbol_but_where_the_service_tagged_it(tmp_path: Path) -> None:
    said = {"user": {"username": "CashGuy123", "name": "Apple"}, "mentioned": [{"username": "carla_rs"}]}
    text = "$cashguy123, US$CASHGUY123 $cashguy1234 $Apple $carla_rs"
    assert anonymous(text, said) == "user, USuser $cashguy1234 $Apple $carla_rs"
    assert anonymous(text, said, ["CASHGUY123"]) == text
    author = {"id": 1, "username": "TSLA", "screen_name": "TSLA"}
    for tagged in (twit(1, user=author, body="$TSLA", symbols=[{"symbol": "TSLA"}]), tweet(1, user=author, text="$TSLA")):
        assert messages(written(tmp_path, tagged))["body"].to_list() == ["$TSLA"]


@pytest.mark.parametrize("part", ["@", "$", "a", "\u0301\u0323", "@@", "$cashguy12", "x.com/ ", "www.", f"{APART} ", "&#", "rt"])
def test_long_texts_take_time_by_their_length(part: str) -> None:
    """The square of it would be hours."""
    text = part * 200_000
    assert anonymous(text, {"user": {"username": "cashguy123", "name": f"{COMPOSED} {COMPOSED} Quillfeather"}}) == text


def test_hashes_are_of_the_deployment_and_the_service() -> None:
    other = Authors(lambda: "another secret")
    found = {AUTHORS.hashed("twitter", "1"), AUTHORS.hashed("stocktwits", "1"), AUTHORS.hashed("twitter", "2"), other.hashed("twitter", "1")}
    assert len(found) == 4
    assert all(len(hashed) == 64 for hashed in found)


def test_curated_symbols_are_each_once_and_sorted() -> None:
    received = pl.LazyFrame({"symbols": [["TSLA", "F", "TSLA"], []], "known_at": [NOON, NOON], "published_at": [NOON, NOON], "_timestamp": [None, NOON - timedelta(hours=1)]})
    found = dataset.curate(received, NO_SYMBOLS).select("symbols", "instrument_ids", "known_at").collect()
    assert found.rows() == [(["F", "TSLA"], [], NOON), ([], [], NOON - timedelta(hours=1))]


values = st.sampled_from([None, 1, "1", "x", [], {}, {"id": 5}, [{"symbol": "A", "text": "B"}], "Wed Oct 10 20:19:24 +0000 2018", "\u20ac"])
fields = ("id", "id_str", "body", "text", "created_at", "user", "symbols", "entities", "conversation", "reshare_message", "retweeted_status")
changes = st.dictionaries(st.sampled_from(fields), values, max_size=2)


@settings(max_examples=120, deadline=None)
@given(st.lists(changes, max_size=4), st.sampled_from([twit, tweet]), st.booleans(), st.one_of(st.just(0), st.integers(1, 99)))
def test_rows_are_the_records_or_the_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]], made: Any, by_line: bool, cut: int
) -> None:
    said = [made(1), *(made(n, **change) for n, change in enumerate(told, 2))]
    text = lines(*said).removesuffix("\n") if by_line else json.dumps(said)
    path = written(tmp_path_factory.mktemp("social"), text[: len(text) - cut])
    try:
        numbers, refused = messages(path)["line_number"].to_list(), ""
    except QuantLakeError as error:
        numbers, refused = [], str(error)
    assert str(path) in refused if refused else numbers == list(range(1, len(said) + 1))
    assert refused or not cut
