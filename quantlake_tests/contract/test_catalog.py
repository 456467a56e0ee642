"""The catalogue: what is found where, in which order, and what stops the load."""

import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.catalog import Catalog, discover

STREAM = """
from quantlake.contract import PARTITION_DATE, Column, Stream, Text
raw = Stream(__name__, doc="A thing.", owner="t", topic=__name__, message_key="a", columns=(Column("a", Text, "A."), PARTITION_DATE))
"""
TABLE = """
from quantlake.contract import Table
from .{stream} import raw
table = Table(__name__, of=raw, doc="A thing, once.", owner="t", key=("a",), columns=raw.columns)
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a folder of dataset files, of a name of its own; what it imports is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(files: dict[str, str], folder: str = "") -> Path:
        root = tmp_path / (folder or f"team_{uuid.uuid4().hex}")
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    yield written
    for name in set(sys.modules) - before:
        if "team_" in name or name.startswith("quantlake_datasets_"):
            del sys.modules[name]


def theirs(catalog: Catalog) -> list[str]:
    return [d.path for d in catalog.datasets if d.owner == "t"]


def test_our_own_datasets_are_found_inputs_first() -> None:
    catalog = discover()
    assert {"raw/market/trades", "curated/market/trades", "derived/market/bars_1m", "embedding/alt/news"} <= set(catalog.by_path)
    places = {path: n for n, path in enumerate(catalog.by_path)}
    assert all(places[i.path] < places[d.path] for d in catalog.datasets for i in d.inputs)
    assert [d.path for d in discover().datasets] == list(catalog.by_path)
    assert set(catalog.by_sql_name) == {d.path.replace("/", "_") for d in catalog.datasets}
    assert all(isinstance(s, Stream) for s in catalog.streams)


@pytest.mark.parametrize("init", [True, False])
def test_a_folder_is_a_package_whose_files_import_one_another(write: Write, init: bool) -> None:
    files = {"toys/cars.py": STREAM, "toys/a_table.py": TABLE.format(stream="cars"), "toys/_helper.py": "x = 1", "games/chess.py": STREAM}
    folder = write(files | ({"toys/__init__.py": "", "games/__init__.py": ""} if init else {}))
    assert theirs(discover([str(folder)])) == ["raw/toys/cars", "curated/toys/a_table", "raw/games/chess"]
    assert theirs(discover([str(folder)])) == theirs(discover([str(folder), str(folder)]))


def test_a_package_is_found_by_name_and_by_entry_point(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"__init__.py": "", "toys/__init__.py": "", "toys/cars.py": STREAM}
    first, second = write(files).name, write({"__init__.py": "", "games/__init__.py": "", "games/chess.py": STREAM}).name
    assert theirs(discover([first])) == ["raw/toys/cars"]
    entry = EntryPoint("team", second, "quantlake.datasets")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == "quantlake.datasets" else [])
    assert theirs(discover([first])) == ["raw/games/chess", "raw/toys/cars"]


def test_two_folders_of_one_name_are_both_found(write: Write) -> None:
    name = f"team_{uuid.uuid4().hex}"
    one, other = write({"toys/cars.py": STREAM}, f"a/{name}"), write({"toys/trains.py": STREAM}, f"b/{name}")
    assert theirs(discover([str(one), str(other)])) == ["raw/toys/cars", "raw/toys/trains"]


def test_two_files_of_one_key_stop_the_load_and_are_both_named(write: Write) -> None:
    one, other = write({"toys/cars.py": STREAM}), write({"toys/cars.py": STREAM})
    with pytest.raises(QuantLakeError, match="two datasets are raw/toys/cars") as caught:
        discover([str(one), str(other)])
    assert str(one / "toys/cars.py") in str(caught.value) and str(other / "toys/cars.py") in str(caught.value)
    ours = write({"market/trades.py": STREAM})
    with pytest.raises(QuantLakeError, match=r"quantlake/datasets/market/trades\.py and .*market/trades\.py"):
        discover([str(ours)])


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"toys/cars.py": "import no_such_package_at_all"}, r"toys\.cars failed to import: ModuleNotFoundError.*no_such_package_at_all"),
        ({"toys/cars.py": "1 / 0"}, r"toys\.cars failed to import: ZeroDivisionError"),
        ({"toys/cars.py": "def ("}, r"toys\.cars failed to import: SyntaxError"),
        ({"toys/cars.py": STREAM.replace("PARTITION_DATE)", ")")}, "raw/toys/cars: every dataset has the column partition_date"),
    ],
)
@pytest.mark.parametrize("by_name", [True, False])
def test_a_failed_import_stops_the_load_and_is_named(write: Write, files: dict[str, str], named: str, by_name: bool) -> None:
    folder = write({"__init__.py": "", "toys/__init__.py": ""} | files)
    with pytest.raises(QuantLakeError, match=named):
        discover([folder.name if by_name else str(folder)])


def test_a_package_that_fails_is_not_skipped(write: Write) -> None:
    folder = write({"__init__.py": "", "toys/__init__.py": "import no_such_package_at_all", "toys/cars.py": STREAM})
    with pytest.raises(QuantLakeError, match=r"toys failed to import: ModuleNotFoundError"):
        discover([folder.name])


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(QuantLakeError, match="'no_such_team' failed to import|'no_such_team': .*No module named"):
        discover(["no_such_team"])


def test_an_input_of_a_folder_that_is_not_loaded_is_named(write: Write) -> None:
    base = write({"__init__.py": "", "toys/__init__.py": "", "toys/cars.py": STREAM})
    table = TABLE.replace("from .{stream}", f"from {base.name}.toys.cars")
    folder = write({"toys/more.py": table})
    with pytest.raises(QuantLakeError, match="curated/toys/more is built from raw/toys/cars, which is in no dataset folder that is loaded"):
        discover([str(folder)])
    assert theirs(discover([str(folder), base.name])) == ["raw/toys/cars", "curated/toys/more"]


def test_unknown_names_list_what_there_is() -> None:
    catalog = discover()
    with pytest.raises(QuantLakeError, match="no dataset 'curated/market/trade'; there are .*curated/market/trades"):
        catalog["curated/market/trade"]
    for unknown in ("market/trade", "curated/market/trades", "market/bars_1m"):
        with pytest.raises(QuantLakeError, match=f"no stream '{unknown}'; there are alt/news, .*market/quotes, market/trades"):
            catalog.stream(unknown)
    assert catalog.stream("market/trades") is catalog.stream("raw/market/trades") is catalog["raw/market/trades"]


def test_what_is_built_from_what() -> None:
    catalog = discover()
    below = catalog.downstream(catalog["raw/market/trades"])
    assert {"curated/market/trades", "derived/market/bars_1m", "feature/market/trade_activity"} <= below
    assert not any(path.startswith("raw/") or "/alt/" in path for path in below)
    for dataset in catalog.datasets:
        assert {s.path for s in catalog.roots(dataset)} == {s.path for s in catalog.streams if dataset.path in catalog.downstream(s) or s is dataset}
