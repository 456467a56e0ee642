"""Simulated headlines: templates over companies, coins and the economy, filled from a seed.

Here: the simulated names and what is written about them. Not here: trades and the order of sending (simulate.py).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from quantlake.contract.wire import wire_arrow
from quantlake.datasets.alt import news

COMPANIES = {
    "ACME": "Acme Robotics", "BOLT": "Bolt Energy", "CRUX": "Crux Semiconductor", "DUNE": "Dune Airlines", "ECHO": "Echo Media",
    "FLUX": "Flux Motors", "GRIT": "Grit Steel", "HALO": "Halo Therapeutics", "IRIS": "Iris Software", "JADE": "Jade Retail",
}
PAIRS = {
    "BTC-USD": "Bitcoin", "ETH-USD": "Ether", "SOL-USD": "Solana", "ADA-USD": "Cardano", "XRP-USD": "XRP", "DOT-USD": "Polkadot",
    "LTC-USD": "Litecoin", "UNI-USD": "Uniswap",
}
PUBLISHERS = ("simulated_wire", "simulated_daily", "simulated_markets")
NEWS_STREAM = 1 << 21  # the number of the random stream, apart from those of simulate.py

ABOUT_COMPANIES = (
    ("{name} beats quarterly profit estimates",
     "Earnings per share rose {n}% on higher margins. Revenue grew in every region."),
    ("{name} cuts its full-year outlook",
     "The company now expects sales to fall by {n}% &amp; blames weak demand."),
    ("{name} agrees to buy a rival for ${n} billion",
     "The merger needs approval from antitrust regulators. Closing is expected next year."),
    ("Regulators open an inquiry into {name}",
     "Investigators asked for documents about accounting practices over the last {n} quarters."),
    ("{name} recalls products after safety complaints",
     "About {n} thousand units are affected. The company will repair them free of charge."),
    ("{name} names a new chief executive",
     "The board chose an outsider after a search of {n} months."),
    ("{name} raises dividend and starts a share buyback",
     "Shareholders will receive {n}% more in cash each quarter."),
    ("Workers at {name} vote to strike",
     "The union asks for {n}% higher wages. Production at two plants has stopped."),
    ("Hackers steal customer data from {name}",
     "The breach exposed {n} million accounts, the company said."),
    ("Analysts upgrade {name} to buy",
     "The new price target is {n}% above the last close."),
    ("{name} suffers from chip shortage",
     "Suppliers warned that deliveries will be {n} weeks late."),
)
ABOUT_COINS = (
    ("{name} network completes upgrade",
     "Transaction fees fell by {n}% after the fork. Validators reported no outages."),
    ("Exchange halts {name} withdrawals",
     "The platform spoke of a technical fault that lasted {n} hours."),
    ("Large holders move {name} to exchanges",
     "Wallets that slept for {n} years became active, blockchain data show."),
    ("Funds that hold {name} see record inflows",
     "Investors added ${n} million within a week."),
    ("Lawmakers propose tighter rules for {name}",
     "The bill would make custodians report transfers above ${n} thousand."),
)
ABOUT_THE_ECONOMY = (
    ("Central bank leaves interest rates unchanged",
     "Policy makers expect inflation to reach {n}% before it falls."),
    ("Oil prices jump as producers curb output",
     "Crude gained {n}% after the cartel's meeting."),
    ("Jobs report surprises economists",
     "Employers added {n} thousand positions. Unemployment fell slightly."),
)


def articles(day: date, symbols: Sequence[str], seed: int) -> pa.Table:
    """6 to 10 items published on ``day`` (UTC), typed as ``news.raw``, in order of ``known_at``; bodies carry a little HTML."""
    random = np.random.default_rng([seed, day.toordinal(), NEWS_STREAM])
    midnight = datetime.combine(day, time(), UTC)
    items = []
    for number in range(1, int(random.integers(6, 11)) + 1):
        symbol = symbols[int(random.integers(len(symbols)))] if random.random() < 0.85 else None
        templates = ABOUT_THE_ECONOMY if symbol is None else ABOUT_COINS if symbol.endswith("-USD") else ABOUT_COMPANIES
        title, body = templates[random.integers(len(templates))]
        values = {"name": {**COMPANIES, **PAIRS}.get(symbol or "", symbol), "n": int(random.integers(2, 40))}
        published = midnight + timedelta(seconds=int(random.integers(86_400)))
        guid = f"simulated-{seed}-{day}-{number}"
        items.append({
            "source": PUBLISHERS[random.integers(len(PUBLISHERS))],
            "guid": guid,
            "title": title.format(**values),
            "url": f"https://news.example/{guid}",
            "body": f"<p>{body.format(**values)}</p>",
            "tickers": [symbol] if symbol else [],
            "event_time": published,
            "known_at": published + timedelta(milliseconds=int(random.integers(200, 60_000))),
            "partition_date": day,
            "feeds": ["headlines"],
            "source_name": f"simulated/{seed}/news/{day}",
            "source_version": None,
            "source_records": None,
            "line_number": number,
        })
    return pa.Table.from_pylist(items, wire_arrow(news.raw)).sort_by("known_at")
