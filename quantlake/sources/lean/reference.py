"""LEAN's reference files: which of them there are importers for.

Here: recognising one by its folder, name and first line. Not here: reading (maps.py, factors.py, universe.py, properties.py).
"""

from pathlib import Path

from quantlake.sources.importers import Importer, Recognised, content
from quantlake.sources.lean import factors, maps, properties, universe

EQUITIES = {"map_files": ("LEAN map file", maps.read), "factor_files": ("LEAN factor file", factors.read)}
HEAD_BYTES = 4_096


def recognise(path: Path) -> Recognised:
    """A ``.csv`` in ``usa/map_files``, ``usa/factor_files`` or ``usa/fundamental/coarse``, or LEAN's lists of symbols and securities."""
    if path.suffix.lower() != ".csv":
        return None
    folders = [part.lower() for part in path.absolute().parts[:-1]]
    if folders[-1] in EQUITIES:
        name, read = EQUITIES[folders[-1]]
        return Importer(name, read) if folders[-2] == "usa" else f"{name} of {folders[-2]}"
    if folders[-2:] == ["fundamental", "coarse"]:
        return Importer("LEAN coarse universe", universe.read)
    if content(path, HEAD_BYTES).startswith(properties.HEADER.encode()):
        return Importer("LEAN symbol properties", properties.read)
    return Importer("LEAN securities", properties.read_securities) if path.name.lower() == "security-database.csv" else None
