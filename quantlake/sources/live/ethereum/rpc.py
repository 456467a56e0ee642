"""JSON-RPC: calls, the answers to them by id, and what a refusal means.

Here: what is written and read. Not here: sending it (nodes.py), what the answers hold (blocks.py).
Specification: https://www.jsonrpc.org/specification; error codes: https://eips.ethereum.org/EIPS/eip-1474#error-codes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["unsupported", "busy", "batch", "absent", "failed"]
"""What to do about it: another method; wait; fewer calls at once; ask later or elsewhere (``absent``: there is none yet; ``failed``)."""
UNSUPPORTED, BUSY = (-32601, -32004), (-32005, -32029, 429)
NO_METHOD = re.compile(r"method\b.*(not (be )?(found|supported|available|allowed)|does not exist)", re.IGNORECASE)
RATE = re.compile(r"rate.?limit|too many requests|capacity|quota|limit exceeded", re.IGNORECASE)
TOO_LARGE = re.compile(r"batch|too (large|big)|response size", re.IGNORECASE)
INVALID_REQUEST, INVALID_PARAMS = -32600, -32602
RESPONSE_TOO_LARGE = -32003  # of geth (https://github.com/ethereum/go-ethereum/blob/master/rpc/errors.go): what no longer fits is refused one by one


@dataclass(frozen=True)
class Call:
    """A method and its parameters, of JSON's types."""

    method: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """An error in a call's place; ``code`` 0: the answer has no such call, or is none. ``all``: one error for many calls."""

    code: int
    words: str
    all: bool = False

    @property
    def kind(self) -> Kind:
        if self.code in UNSUPPORTED or NO_METHOD.search(self.words):
            return "unsupported"
        if self.code in BUSY or RATE.search(self.words):
            return "busy"
        if self.code == RESPONSE_TOO_LARGE or (self.all and (self.code == INVALID_REQUEST or TOO_LARGE.search(self.words))):
            return "batch"
        return "failed"


@dataclass(frozen=True)
class Reply:
    """What a node answered to calls, not parsed yet; ``first_id`` is the first call's, the others' follow it."""

    calls: tuple[Call, ...]
    first_id: int
    body: bytes

    def answers(self) -> list[Any]:
        """For each call its result, or a ``Refusal``. Answers in any order; those to other ids are none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return [Refusal(0, f"no JSON: {self.body[:60]!r}")] * len(self.calls)
        if isinstance(found, dict) and (len(self.calls) > 1 or ("error" in found and found.get("id") is None)):
            return [_refusal(found.get("error"), every=len(self.calls) > 1)] * len(self.calls)
        said: dict[Any, Any] = {}
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, dict):
                said.setdefault(_id(one), one.get("result") if "result" in one else _refusal(one.get("error")))
        nothing = Refusal(0, "no answer to this call")
        return [said.get(self.first_id + n, nothing) for n in range(len(self.calls))]


def request(calls: Sequence[Call], first_id: int) -> bytes:
    """The body to send: one call as an object, since not every node takes a list."""
    written = [{"jsonrpc": "2.0", "id": first_id + n, "method": c.method, "params": list(c.params)} for n, c in enumerate(calls)]
    return json.dumps(written[0] if len(written) == 1 else written).encode()


def _id(answer: dict[str, Any]) -> Any:
    found = answer.get("id")
    return int(found) if isinstance(found, str) and found.isdecimal() else found if isinstance(found, int) else None


def _refusal(error: Any, every: bool = False) -> Refusal:
    if not isinstance(error, dict):
        return Refusal(0, f"neither result nor error: {str(error)[:60]}", every)
    code = error.get("code")
    return Refusal(code if isinstance(code, int) else 0, " ".join(str(error.get("message", "")).split())[:200], every)
