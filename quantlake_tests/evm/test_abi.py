"""What contracts answer: texts of both kinds, numbers, and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlake.evm import abi


def string(data: bytes, offset: int = 32, length: int | None = None) -> str:
    """A ``string`` as https://docs.soliditylang.org/en/latest/abi-spec.html has it."""
    size = len(data) if length is None else length
    return f"0x{offset:064x}{size:064x}{data.hex()}{'00' * (-len(data) % 32)}"


def bytes32(data: bytes) -> str:
    return f"0x{data.hex():0<64}"


@pytest.mark.parametrize(("answer", "text", "bad"), [
    (string(b"USD Coin"), "USD Coin", False), (string("Ξther ☃".encode()), "Ξther ☃", False), (string(b"ETH\0\0\0"), "ETH", False),
    (string(b"A\xffB"), "A�B", True), (string("�".encode()), "�", False), (string(b""), None, False), (string(b"x" * 100), "x" * 100, False),
    (string(b"ab", offset=64), None, False), (string(b"ab", length=33), None, False), (string(b"ab", offset=2**255), None, False),
    (string(b"ab")[:-60], "ab", False), (bytes32(b"EOS"), "EOS", False), (bytes32(b"MKR\xff"), "MKR�", True), (bytes32(b"x" * 32), "x" * 32, False),
    (bytes32(b""), None, False), (f"0x{18:064x}", None, False), ("0x", None, False), ("0x01", None, False), ("0x" + "ff" * 31, None, False),
])  # fmt: skip
def test_texts(answer: str, text: str | None, bad: bool) -> None:
    assert abi.text(answer) == (text, bad)


@given(st.text("aé☃Ξ\0", max_size=80))
def test_any_text_comes_back_without_its_nuls(text: str) -> None:
    expected = text.replace("\0", "")
    assert abi.text(string(text.encode())) == (expected or None, False)


@given(st.binary(max_size=200))
def test_no_answer_breaks_it(data: bytes) -> None:
    said = abi.text(f"0x{data.hex()}")
    assert said.text is None or "\0" not in said.text


@pytest.mark.parametrize(("answer", "number", "decimals"), [
    (f"0x{18:064x}", 18, 18), (f"0x{0:064x}", 0, 0), (f"0x{256:064x}", 256, None), ("0x" + "f" * 64, 2**256 - 1, None), ("0x", None, None),
    ("0x12", None, None), (string(b"18"), None, None),
])  # fmt: skip
def test_numbers(answer: str, number: int | None, decimals: int | None) -> None:
    assert (abi.number(answer), abi.decimals(answer)) == (number, decimals)
