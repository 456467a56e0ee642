"""Social messages as services give them, in full, with people who must not be found anywhere afterwards."""

import json
from typing import Any

PEOPLE = {
    "Jane Quillfeather": "janeq_trades", "Bob Oddington": "OddBob77", "Carla Reshareson": "carla_rs", "Mentioned Mike": "mikementions",
}  # fmt: skip
IDS = {"janeq_trades": 771234509, "OddBob77": 881234509, "carla_rs": 991234509, "mikementions": 661234509}
SECRETS = (*PEOPLE, *PEOPLE.values(), *map(str, IDS.values()), "profile-picture", "I live in Springfield")


def twit_user(name: str) -> dict[str, Any]:
    handle = PEOPLE[name]
    return {
        "id": IDS[handle], "username": handle, "name": name, "avatar_url": f"https://avatars.example/profile-picture-{handle}.png",
        "join_date": "2012-01-01", "official": False, "identity": "User", "classification": [], "followers": 12, "like_count": 3,
    }  # fmt: skip


def twit(number: int, **changed: Any) -> dict[str, Any]:
    """A message of StockTwits."""
    return {
        "id": number, "body": "$AAPL &amp; co &gt; 100, says @OddBob77", "created_at": "2020-08-26T21:49:00Z", "user": twit_user("Jane Quillfeather"),
        "source": {"id": 1149, "title": "StockTwits for iOS", "url": "http://www.stocktwits.com/mobile"},
        "symbols": [{"id": 686, "symbol": "AAPL", "title": "Apple Inc.", "aliases": [], "is_following": False, "watchlist_count": 500_000}],
        "mentioned_users": ["@OddBob77"], "entities": {"sentiment": {"basic": "Bullish"}}, **changed,
    }  # fmt: skip


def stream(*messages: dict[str, Any]) -> dict[str, Any]:
    """An answer of StockTwits' interface."""
    return {
        "response": {"status": 200}, "symbol": {"id": 686, "symbol": "AAPL", "title": "Apple Inc."},
        "cursor": {"more": True, "since": 2, "max": 1}, "messages": list(messages),
    }  # fmt: skip


def twits() -> list[dict[str, Any]]:
    reply = {"parent_message_id": 9, "in_reply_to_message_id": 1, "parent": False, "replies": 0}
    reshared = {"message": twit(7, user=twit_user("Carla Reshareson"), body="Carla Reshareson here"), "reshared_count": 1}
    return [
        twit(1, conversation={"parent_message_id": 1, "in_reply_to_message_id": None, "parent": True, "replies": 2}),
        twit(2, user=twit_user("Bob Oddington"), entities={"sentiment": None}, conversation=reply, body="@janeq_trades no. Jane, no."),
        twit(3, entities={"sentiment": {"basic": "Bearish"}}, reshare_message=reshared, symbols=[], body="RT @carla_rs: via Carla Reshareson"),
        twit(4, entities=None, symbols=None, body="https://stocktwits.com/janeq_trades/message/4 by Jane Quillfeather (771234509)"),
    ]


def tweet_user(name: str) -> dict[str, Any]:
    handle = PEOPLE[name]
    return {
        "id": IDS[handle], "id_str": str(IDS[handle]), "name": name, "screen_name": handle, "location": "Springfield", "followers_count": 9,
        "description": "I live in Springfield", "profile_image_url_https": f"https://images.example/profile-picture-{handle}.png",
    }  # fmt: skip


def tweet(number: int, **changed: Any) -> dict[str, Any]:
    """A tweet of Twitter's interface 1.1; its ids are beyond 2^53, as real ones."""
    number += 1_050_118_621_198_921_728
    return {
        "created_at": "Wed Oct 10 20:19:24 +0000 2018", "id": number, "id_str": str(number), "text": "To $TSLA &amp; beyond", "truncated": False,
        "entities": {"hashtags": [], "symbols": [{"text": "TSLA", "indices": [3, 8]}], "urls": [], "user_mentions": []},
        "user": tweet_user("Jane Quillfeather"), "in_reply_to_status_id": None, "in_reply_to_status_id_str": None, "in_reply_to_user_id_str": None,
        "in_reply_to_screen_name": None, "lang": "en", **changed,
    }  # fmt: skip


def tweets() -> list[dict[str, Any]]:
    first = tweet(1)
    mention = {"screen_name": "mikementions", "name": "Mentioned Mike", "id": IDS["mikementions"], "id_str": str(IDS["mikementions"]), "indices": [0, 5]}
    return [
        first,
        tweet(2, user=tweet_user("Bob Oddington"), retweeted_status=first, text="RT @janeq_trades: To $TSLA &amp; beyond"),
        tweet(
            3, in_reply_to_status_id_str=first["id_str"], in_reply_to_screen_name="janeq_trades", in_reply_to_user_id_str="771234509",
            text="@JaneQ_Trades @mikementions thanks, Mentioned Mike… https://twitter.com/OddBob77/status/3", user=tweet_user("Bob Oddington"),
            entities={"symbols": [], "user_mentions": [mention]},
        ),
        tweet(4, text="cut…", extended_tweet={"full_text": "$TSLA and $F in full", "entities": {"symbols": [{"text": "TSLA"}, {"text": "F"}]}}),
        tweet(6, text="cut…", extended_tweet={"full_text": "$TSLA in full"}),
        tweet(5, quoted_status_id_str=first["id_str"], quoted_status=tweet(1, user=tweet_user("Carla Reshareson")), text="Says Carla Reshareson"),
    ]  # fmt: skip


def lines(*documents: object) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)
