"""Documents: kept once, whole or not at all, found by their address alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quantlake.adapters.lake.objects import FolderObjects, StoreObjects
from quantlake.contract import Document, QuantLakeError
from quantlake.ports import Objects

PORT = "Objects"
DOCUMENT = Document(b"<p>Hi</p>\x00\xff")
Again = Callable[[], Objects]


@pytest.fixture(params=["embedded", "iceberg files", pytest.param("s3", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def again(adapter_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Again]:
    """Opens the store once more, as another process would."""
    if adapter_name == "embedded":
        yield lambda: FolderObjects(tmp_path)
    elif adapter_name == "iceberg files":
        yield lambda: StoreObjects(f"file://{tmp_path}", {})
    else:
        moto = request.getfixturevalue("moto")
        yield lambda: StoreObjects("s3://lake/warehouse/", moto.s3)
        moto.empty("lake")


def test_a_document_is_kept_under_its_hash_and_found_again(again: Again) -> None:
    store = again()
    for document in (DOCUMENT, DOCUMENT, Document(b"")):
        store.put(document)
    assert DOCUMENT.uri == f"objects/{DOCUMENT.hash[:2]}/{DOCUMENT.hash}"
    assert again().get(DOCUMENT.uri) == DOCUMENT.content
    assert again().get(Document(b"").uri) == b""


def test_what_is_not_there_or_no_address_is_said(again: Again) -> None:
    with pytest.raises(QuantLakeError, match=f"there is no {DOCUMENT.uri}"):
        again().get(DOCUMENT.uri)
    for wrong in ("objects/../../etc/passwd", f"objects/{DOCUMENT.hash}", "", f"/{DOCUMENT.uri}"):
        with pytest.raises(QuantLakeError, match="is no document's address"):
            again().get(wrong)


def test_a_moved_folder_keeps_its_documents_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    FolderObjects(tmp_path / "old").put(DOCUMENT)
    (tmp_path / "old").rename(tmp_path / "new")
    store = FolderObjects(tmp_path / "new")
    assert store.get(DOCUMENT.uri) == DOCUMENT.content
    assert [p.name for p in (tmp_path / "new").rglob("*") if p.is_file()] == [DOCUMENT.hash]  # nothing is left beside it
    (tmp_path / "new" / DOCUMENT.uri).write_bytes(b"cut")
    with pytest.raises(QuantLakeError, match="it is damaged"):
        store.get(DOCUMENT.uri)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    with pytest.raises(QuantLakeError, match="cannot be written"):
        FolderObjects(tmp_path).put(DOCUMENT)
