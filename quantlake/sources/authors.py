"""Authors of social messages: what is kept of them, and how they are taken out of what is written.

Here: the hash of an author's id, and the names and handles that a message's own people have. Not here: formats (social.py), the secret (wiring).
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from quantlake.contract import QuantLakeError

Hashed = Callable[[str, str], str]
"""From a service and an author's id there to what is kept of it."""

HANDLES, ANSWERED = ("screen_name", "username"), "in_reply_to_screen_name"
IDS = ("id", "id_str")
SHORTEST_NAME, SHORTEST_ID = 3, 6  # what is shorter is a word, or a number, of any text
MENTION = re.compile(r"(?<![\w@])@\w+")


class Authors:
    """Hashes of one deployment: without its ``secret``, asked for at first use, nobody can tell whose they are, however few ids there may be."""

    def __init__(self, secret: Callable[[], str]) -> None:
        self._ask = secret

    @cached_property
    def _secret(self) -> bytes:
        return self._ask().encode()

    def hashed(self, source: str, author_id: str) -> str:
        """HMAC-SHA256 (https://www.rfc-editor.org/rfc/rfc2104) of ``source:author_id``, in hex: one person on two services is two."""
        return hmac.new(self._secret, f"{source}:{author_id}".encode(), hashlib.sha256).hexdigest()


def no_secret(source: str, _: str) -> str:
    """Raises ``QuantLakeError``: nothing is read of authors where they cannot be hashed."""
    raise QuantLakeError(f"messages of {source} name their authors, which are hashed with a secret; none was given")


def anonymous(text: str, message: Any) -> str:
    """The text without the people it names: every ``@handle`` is ``@user``; names, handles and ids of people whom the message itself knows
    (its author, those it answers, passes on or mentions) are ``user``, as whole words, in addresses too. A ``$SYMBOL`` stays."""
    known = sorted({re.escape(word) for word in _people(message)}, key=len, reverse=True)
    if known:
        text = re.sub(rf"(?<![\w$])(?:{'|'.join(known)})(?!\w)", "user", text, flags=re.IGNORECASE)
    return MENTION.sub("@user", text)


def _people(found: Any) -> Iterator[str]:
    """Names, handles and longer ids in a JSON value, however deep: a person is an object with a handle."""
    if isinstance(found, list):
        for item in found:
            yield from _people(item)
    elif isinstance(found, dict):
        if any(isinstance(found.get(name), str) for name in HANDLES):
            yield from (str(found[name]) for name in IDS if len(str(found.get(name) or "")) >= SHORTEST_ID)
            yield from _names(found, "name", *HANDLES)
        yield from _names(found, ANSWERED)
        for item in found.values():
            yield from _people(item)


def _names(person: dict[str, Any], *fields: str) -> Iterator[str]:
    for field in fields:
        name = person.get(field)
        if isinstance(name, str) and len(name.strip()) >= SHORTEST_NAME:
            yield name.strip()
