"""A loopback node: answers JSON-RPC by a simulated chain, and as badly as a test wants."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from quantlake_tests.sources.chains import Made, Simulated
from quantlake_tests.sources.loopback import Loopback

Object = dict[str, Any]
Fault = Callable[[list[Object]], "Answer | None"]


@dataclass
class Answer:
    """What is answered instead: a status, or other answers to the calls."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.said = {"code": code, "message": message}


class RpcServer(Loopback):
    """Context manager. ``faults`` see each request's calls before they are answered, the first that gives an ``Answer`` is it; ``twist`` changes the
    answers of a batch; ``without`` are methods it does not have; ``asked`` is every call in order."""

    def __init__(self, chain: Simulated, *, chain_id: int = 1, path: str = "/") -> None:
        self.chain, self.chain_id = chain, chain_id
        self.faults: list[Fault] = []
        self.twist: Callable[[list[Object]], Any] = lambda answers: answers
        self.without: set[str] = {"eth_call"}
        self.asked: list[tuple[str, list[Any]]] = []
        self.sizes: list[int] = []
        self.contracts: dict[tuple[str, str], str] = {}
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: the second of two would wait for an acknowledgement, 40 ms

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if not content:
                    return  # the client has gone
                said = json.loads(content)
                with server.lock:
                    found = server._answer(said if isinstance(said, list) else [said], isinstance(said, list))
                time.sleep(found.wait)
                body = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
                self.send_response(found.status)
                for name, value in {"Content-Length": str(len(body)), **found.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler, path)

    def count(self, method: str) -> int:
        return sum(1 for name, _ in self.asked if name == method)

    def fail(self, times: int, answer: Answer, method: str = "eth_getBlockByNumber") -> None:
        """So many requests with this method are answered so."""
        left = [times]

        def fault(calls: list[Object]) -> Answer | None:
            if not left[0] or all(c["method"] != method for c in calls):
                return None
            left[0] -= 1
            return answer

        self.faults.append(fault)

    def _answer(self, calls: list[Object], batch: bool) -> Answer:
        self.asked += [(c["method"], c["params"]) for c in calls]
        self.sizes.append(len(calls))
        for fault in self.faults:
            if (found := fault(calls)) is not None:
                return found
        answers = [self._one(call) for call in calls]
        return Answer(body=self.twist(answers) if batch else answers[0])

    def _one(self, call: Object) -> Object:
        try:
            return {"jsonrpc": "2.0", "id": call["id"], "result": self.result(call["method"], call["params"])}
        except RpcError as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": error.said}

    def result(self, method: str, params: list[Any]) -> Any:
        if method in self.without:
            raise RpcError(-32601, f"the method {method} does not exist/is not available")
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_call":
            found = self.contracts.get((params[0]["to"], params[0]["data"]))
            if found is None:
                raise RpcError(3, "execution reverted")
            return found
        if method == "eth_getTransactionReceipt":
            return next((r for m in self.chain.chain for r in m.receipts if r["transactionHash"] == params[0]), None)
        made = self._block(params[0])
        if made is None:
            return None
        if method == "eth_getBlockReceipts":
            return made.receipts
        assert method in ("eth_getBlockByNumber", "eth_getBlockByHash"), method
        return made.block if params[1] else made.block | {"transactions": [t["hash"] for t in made.block["transactions"]]}

    def _block(self, where: str) -> Made | None:
        if where == "latest":
            return self.chain.chain[-1]
        if where == "finalized":
            return self.chain.at(max(self.chain.head - 64, self.chain.first))
        return self.chain.known.get(where) if len(where) == 66 else self.chain.at(int(where, 16))
