"""Small made files of the formats that importers know."""

import zipfile
from pathlib import Path

EQUITY = "14430270,1815200,283,P,20002020,0\n14450472,1818000.5,500,P,,1"
CRYPTO = "0,611.78,0.00000001\n86399999,611.9,1.5"
ITEM = {"title": "A", "link": "https://www.nasdaq.com/a", "guid": "g", "pubDate": "Wed, 05 Aug 2020 20:47:04 -0400"}


def zipped(path: Path, member: str, content: str | bytes) -> Path:
    """A zip of one member at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path
