"""Lakes of a test, one of every kind of catalogue, empty, and opened again by other processes as other machines would.

Not here: the servers (``quantlake_tests.servers``).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pyarrow.fs import FileSelector

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import TableSpec

SERVED = [pytest.param("glue", marks=pytest.mark.servers), pytest.param("rest", marks=pytest.mark.servers)]
EVERY = ["embedded", *SERVED]


@contextmanager
def made(adapter_name: str, home: Path, request: pytest.FixtureRequest) -> Iterator[Iceberg]:
    """The lake of an adapter, as ``wiring`` makes it; ``lake_of(home)`` opens it again. What it has is deleted in the end."""
    if adapter_name == "embedded":
        yield lake_of(home)
        return
    moto = request.getfixturevalue("moto")
    properties = {**moto.s3, "type": adapter_name}
    if adapter_name == "glue":
        properties |= {**moto.glue, "warehouse": "s3://lake/glue"}
    else:
        from quantlake_tests.servers.iceberg_rest import TOKEN

        properties |= {"uri": request.getfixturevalue("iceberg_rest").url, "warehouse": "s3://lake/rest", "token": TOKEN}
    write(home, properties)
    lake = lake_of(home)
    try:
        yield lake
    finally:
        drop_all(lake_of(home))
        moto.empty("lake")


def write(home: Path, properties: Mapping[str, str]) -> None:
    """Keep a lake's properties for ``lake_of``."""
    (home / "lake.json").write_text(json.dumps(dict(properties)))


def lake_of(home: Path, locks: str = "locks", **properties: str) -> Iceberg:
    """The lake of a home once more; under other ``locks`` as another machine sees it, which knows nothing of ours."""
    kept = home / "lake.json"
    if not kept.exists():
        return Iceberg.embedded(home / "lake", home / locks)
    return Iceberg({**json.loads(kept.read_text()), **properties}, home / locks)


def drop_all(lake: Iceberg) -> None:
    for namespace in lake.catalog.list_namespaces():
        for table in lake.catalog.list_tables(namespace):
            lake.catalog.drop_table(table)


def stored(lake: Iceberg, spec: TableSpec) -> dict[str, int]:
    """A table's files and their bytes, wherever they lie, without pyiceberg's own table metadata."""
    table = lake.catalog.load_table((spec.layer, f"{spec.family}_{spec.name}"))
    place = urlsplit(table.location())
    files = table.io.fs_by_scheme(place.scheme or "file", place.netloc)  # type: ignore[attr-defined]
    found = files.get_file_info(FileSelector(f"{place.netloc}{place.path}", recursive=True))
    return {f.path: f.size for f in found if f.path.endswith((".avro", ".parquet"))}
