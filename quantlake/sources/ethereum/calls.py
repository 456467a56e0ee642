"""Recorded answers of contracts: what a token says of itself, and a contract's code.

Here: files named as ethereum-etl names its recordings, since an answer does not tell what was asked:
``web3_response.eth_call_data_<data>_to_<address>_<block>.json``, ``web3_response.eth_getCode_<address>_<block>.json``
(https://github.com/blockchain-etl/ethereum-etl/blob/develop/tests/ethereumetl/job/mock_web3_provider.py). Not here: decoding (``quantlake/evm``).

A token's answers (``symbol``, ``name``, ``decimals``, ``totalSupply``) of one block are a file each: their row is that of the first by name; the others
are part of it. What was not recorded or failed is null.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain import contracts, tokens
from quantlake.evm import abi, code
from quantlake.sources.ethereum.documents import opened, parsed
from quantlake.sources.ethereum.rows import TIME
from quantlake.sources.ethereum.values import DATA, SHOWN

CALL = re.compile(r"(?i)(^|\.)eth_call_data_(?P<data>0x[0-9a-f]*)_to_(?P<to>0x[0-9a-f]{40})_(?P<block>\w+)\.json(\.gz)?$")
CODE = re.compile(r"(?i)(^|\.)eth_getCode_(?P<of>0x[0-9a-f]{40})_(?P<block>\w+)\.json(\.gz)?$")
OF_A_TOKEN = (abi.SYMBOL, abi.NAME, abi.DECIMALS, abi.TOTAL_SUPPLY)
NO_BLOCK = {"block_hash": pl.lit(None, pl.String), "block_timestamp": pl.lit(None, TIME), "line_number": pl.lit(1, pl.Int64), "item_index": pl.lit(0, pl.Int64)}


def read(path: Path) -> Mapping[Stream, pl.DataFrame]:
    """The row of a recorded call, of ``tokens`` or ``contracts``; none where it is part of another file's, or says nothing of either.

    Raises ``QuantLakeError`` naming the file: no response, an answer that is not hex.
    """
    answer = _answer(path)
    if found := CODE.search(path.name):
        return {contracts.raw: _contract(found, answer)} if answer is not None else {}
    call = CALL.search(path.name)
    if call is None or call["data"].lower() not in OF_A_TOKEN:
        return {}
    answers = _answers(path, call)
    return {tokens.raw: _token(call, answers)} if path == next(iter(answers)) else {}


def _answers(path: Path, call: re.Match[str]) -> dict[Path, tuple[str, str | None]]:
    """The calls of the same token and block beside a file, by path: what was asked, and the answer."""
    found = {}
    for name in sorted(os.listdir(path.parent)):
        match = CALL.search(name)
        if match and match["data"].lower() in OF_A_TOKEN and _same(match, call):
            found[path.parent / name] = match["data"].lower(), _answer(path.parent / name)
    return found


def _same(one: re.Match[str], other: re.Match[str]) -> bool:
    return (one["to"].lower(), one["block"]) == (other["to"].lower(), other["block"])


def _answer(path: Path) -> str | None:
    """The result, in lower case; null of an error."""
    found: list[Any] = [item for _, _, item in parsed(opened(path))]
    if len(found) != 1 or not isinstance(found[0], dict) or not found[0].keys() & {"result", "error"}:
        raise QuantLakeError(f"{path} is not one response with a result or an error; it has {str(found)[:SHOWN]!r}")
    answer = found[0].get("result")
    if answer is not None and (not isinstance(answer, str) or not re.fullmatch(DATA.pattern, answer)):
        raise QuantLakeError(f"{path}: its result {str(answer)[:SHOWN]!r} is not {DATA.said}")
    return answer and answer.lower()


def _token(call: re.Match[str], answers: Mapping[Path, tuple[str, str | None]]) -> pl.DataFrame:
    said = {asked: answer or "0x" for asked, answer in answers.values()}
    symbol, name = (abi.text(said.get(asked, "0x")) for asked in (abi.SYMBOL, abi.NAME))
    supply = abi.number(said.get(abi.TOTAL_SUPPLY, "0x"))
    return pl.DataFrame(
        {
            "block_number": [_block(call)], "address": [call["to"].lower()], "symbol": [symbol.text], "name": [name.text],
            "decimals": [abi.decimals(said.get(abi.DECIMALS, "0x"))], "total_supply": [None if supply is None else str(supply)],
            "bad_text": [symbol.bad or name.bad],
        },
        schema_overrides={"block_number": pl.Int64, "decimals": pl.Int64, **dict.fromkeys(("symbol", "name", "total_supply"), pl.String)},
    ).with_columns(**NO_BLOCK)  # fmt: skip


def _contract(asked: re.Match[str], bytecode: str) -> pl.DataFrame:
    functions = code.selectors(bytecode)
    return pl.DataFrame(
        {
            "block_number": [_block(asked)], "address": [asked["of"].lower()], "bytecode": [bytecode], "function_sighashes": [functions],
            "is_erc20": [code.is_erc20(functions)], "is_erc721": [code.is_erc721(functions)],
        },
        schema_overrides={"block_number": pl.Int64, "function_sighashes": pl.List(pl.String)},
    ).with_columns(**NO_BLOCK)  # fmt: skip


def _block(asked: re.Match[str]) -> int | None:
    """The height that was asked for; null of ``latest`` and its like."""
    return int(asked["block"], 16) if re.fullmatch("(?i)0x[0-9a-f]{1,15}", asked["block"]) else None
