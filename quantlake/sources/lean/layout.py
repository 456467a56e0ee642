"""What a LEAN zip holds: by its members' names, its folders, and where these do not say it, its first lines.

Here: member names, asset class, market, resolution. Not here: reading of records (ticks.py, bars.py), their clocks (rows.py).

LEAN's layout is ``<asset class>/<market>/<resolution>/<symbol>/<date>_<what>.zip``, hour and daily files without symbol folder and
date. A folder need not be called exactly as LEAN does (``lean_equity_us/minute/ibm``); without any, columns tell what can be told.
Members: ``20131007_ibm_minute_trade.csv``, ``20131007_ibm_Trade_Tick.csv``, ``20131007_gc_tick_trade_201312.csv`` (newer ones
``.._201312_20131227.csv``), ``ibm.csv``.
Format: https://github.com/QuantConnect/Lean/tree/master/Data (readme of each asset class), ``Common/Util/LeanData.cs``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

AssetClass = Literal["equity", "forex", "crypto", "future"]
Step = Literal["tick", "second", "minute", "hour", "daily"]
What = Literal["trade", "quote", "openinterest"]

DATED = re.compile(
    r"(?P<date>\d{8})_(?P<symbol>.+?)_(?:(?P<step>tick|second|minute)_(?P<what>trade|quote|openinterest)|(?P<old>trade|quote)_tick)"
    r"(?:_(?P<contract>.+))?\.csv",
    re.IGNORECASE,
)
UNDATED = re.compile(r"(?P<symbol>[^_/]+)(?:_(?P<what>trade|quote|openinterest)(?:_(?P<contract>.+))?)?\.csv", re.IGNORECASE)
STAMP = re.compile(r"\d{8} (\d\d:\d\d),")
CONTRACT = re.compile(r"(?P<month>\d{6}|\d{8})(?:_\d{8})?")
UNDATED_STEPS: tuple[Step, ...] = ("hour", "daily")
CLASSES: dict[str, AssetClass] = {
    **dict.fromkeys(("equity", "equities"), "equity"), **dict.fromkeys(("forex", "fx"), "forex"), "crypto": "crypto",
    **dict.fromkeys(("future", "futures"), "future"),
}  # fmt: skip
OTHER_CLASSES = ("option", "options", "indexoption", "futureoption", "cfd", "index", "cryptofuture", "cryptofutures")
MARKETS: dict[str, AssetClass] = {
    "usa": "equity", "india": "equity", "fxcm": "forex", "oanda": "forex", **dict.fromkeys(("comex", "cme", "cbot", "nymex"), "future"),
    **dict.fromkeys(("coinbase", "gdax", "binance", "binanceus", "bitfinex", "bitstamp", "bybit", "kraken"), "crypto"),
}  # fmt: skip
CLOCKED: dict[AssetClass, tuple[str, ...]] = {
    "equity": ("usa",), "forex": ("fxcm", "oanda"), "future": ("comex", "cme", "cbot", "nymex")
}
"""Markets whose clock is known; crypto's is UTC everywhere."""
WORDS = {"trade": "trades", "quote": "quotes", "openinterest": "open interest"}
CLASS_OF_COLUMNS: dict[tuple[str, int], AssetClass] = {
    ("trade", 6): "equity", ("trade", 3): "crypto", ("trade", 4): "crypto",
    ("quote", 8): "equity", ("quote", 3): "forex", ("quote", 5): "crypto", ("quote", 6): "crypto",
}  # fmt: skip
"""Of ticks of one symbol; futures' members name a contract."""


@dataclass(frozen=True)
class Member:
    """What a member's name says; ``step`` and ``what`` are null where only content or folders can.

    ``contract`` is a future's month (``201312``) or month and expiry (``201312_20131227``), or an option's right, strike and expiry.
    """

    name: str
    symbol: str
    contract: str
    date: str
    step: Step | None
    what: What | None

    @property
    def printed_symbol(self) -> str:
        """In upper case, a future's with its contract month."""
        contract = CONTRACT.fullmatch(self.contract)
        return (self.symbol + (contract["month"] if contract else "")).upper()


@dataclass(frozen=True)
class Kind:
    """What all members of a zip are; ``market`` is in lower case."""

    asset_class: AssetClass
    market: str
    step: Step
    what: What

    @property
    def name(self) -> str:
        return f"LEAN {self.asset_class} {_words(self.step, self.what)}"


def member(name: str) -> Member | None:
    """None: no name of LEAN's."""
    if found := DATED.fullmatch(name):
        step, what = (found["step"] or "tick").lower(), (found["what"] or found["old"]).lower()
        return Member(name, found["symbol"], found["contract"] or "", found["date"], step, what)  # type: ignore[arg-type]
    if found := UNDATED.fullmatch(name):
        return Member(name, found["symbol"], found["contract"] or "", "", None, (found["what"] or "").lower() or None)  # type: ignore[arg-type]
    return None


def completed(found: Member, path: Path, head: Sequence[str]) -> Member | None:
    """With what the name of an hour or daily member does not say; None: its first line is no such bar."""
    if found.step:
        return found
    stamps = [stamp for line in head if (stamp := STAMP.match(line))]
    if not head or not STAMP.match(head[0]):
        return None
    by_folder = next((step for step in UNDATED_STEPS if step in _folders(path)), None)
    by_content: Step = "daily" if all(stamp[1] == "00:00" for stamp in stamps) else "hour"
    what: What | None = {6: "trade", 11: "quote", 2: "openinterest"}.get(head[0].count(",") + 1)  # type: ignore[assignment]
    return replace(found, step=by_folder or by_content, what=found.what or what or "trade")


def kind(found: Member, path: Path, head: Sequence[str]) -> Kind | str:
    """Of a completed member; or the name of what is known but has no importer, and why."""
    assert found.step is not None  # completed() has seen to it
    assert found.what is not None
    words = _words(found.step, found.what)
    if found.contract and not CONTRACT.fullmatch(found.contract):
        return f"LEAN option {words}"
    asset_class, market, other = _of_folders(path, found)
    if other:
        return f"LEAN {other} {words}"
    if asset_class is None or found.contract:
        asset_class = "future" if found.contract else _of_content(found, head)
        market = None if asset_class == "equity" and market not in MARKETS else market
    layout = f"<asset class>/<market>/{found.step}/{'<symbol>/' if found.date else ''}{path.name}"
    if asset_class is None:
        return f"LEAN {words} of an asset class that neither path nor content says; expected is {layout}"
    market = market or {"equity": "usa", "crypto": "crypto"}.get(asset_class)
    if market is None:
        return f"LEAN {asset_class} {words} of a market that the path does not say; expected is {layout}"
    if market not in CLOCKED.get(asset_class, (market,)):
        return f"LEAN {asset_class} {words} of the market {market}, whose clock is not known"
    return Kind(asset_class, market, found.step, found.what)


def _of_folders(path: Path, found: Member) -> tuple[AssetClass | None, str | None, str | None]:
    """Asset class and market by the folders above the resolution's; or a class of LEAN's that has no importer."""
    folders = ["", "", *_folders(path)]
    at = next((i for i in reversed(range(2, len(folders))) if folders[i] == found.step), None)
    if at is None:
        return None, None, None
    above, market = folders[at - 2], folders[at - 1]
    for folder, own_market in ((above, market), (market, None)):
        words = re.split(r"[^a-z]+", folder)
        if other := next((w for w in words if w in OTHER_CLASSES), None):
            return None, None, other
        if asset_class := next((CLASSES[w] for w in words if w in CLASSES), None):
            return asset_class, own_market, None
    whole = bool(found.date) and folders[at + 1 :] == [found.symbol.lower()]  # <market>/<resolution>/<symbol>
    return MARKETS.get(market), market if market in MARKETS or (whole and market) else None, None


def _folders(path: Path) -> list[str]:
    return [part.lower() for part in path.absolute().parts[1:-1]]


def _of_content(found: Member, head: Sequence[str]) -> AssetClass | None:
    """By columns, decimal points and the symbol's length; None: it could be more than one."""
    short = len(found.symbol) < 6
    if not head:
        return "equity" if short else None
    if found.step == "tick":
        return CLASS_OF_COLUMNS.get((found.what or "", head[0].count(",") + 1))
    decimal_points = any("." in line for line in head)
    if short:
        return None if decimal_points else "equity"  # equity prices are whole numbers of 1/10,000
    return "crypto" if decimal_points and found.what == "trade" else None


def _words(step: str, what: str) -> str:
    return f"{step} {WORDS[what]}" if step == "tick" else f"{step} bars of {WORDS[what]}"
