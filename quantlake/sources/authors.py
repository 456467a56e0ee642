"""Authors of social messages: what is kept of them, and how they are taken out of what is written.

Here: the hash of an author's id, and the names and handles that a message's own people have. Not here: formats (social.py), the secret (wiring).
"""

import hashlib
import hmac
import html
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, cached_property
from typing import Any

from quantlake.contract import QuantLakeError

Hashed = Callable[[str, str], str]
"""From a service and an author's id there to what is kept of it."""

HANDLES, ANSWERED = ("screen_name", "username"), "in_reply_to_screen_name"
IDS, IDS_OF = ("id", "id_str"), ("user_id", "user_id_str")  # of a person; of one that is named by the end of a field's name
SHORTEST_NAME, SHORTEST_OWN, SHORTEST_ID = 3, 2, 6  # what is shorter is a word, or a number, of any text
LONG_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{10,};?")
ADDRESS = re.compile(
    r"(?<![\w-])((?:twitter|x)\.com/(?:#!/)?(?!(?:i|search|hashtag|home|explore|intent|share)\b)|stocktwits\.com/(?!(?:symbol|message|news)\b))\w+",
    re.IGNORECASE,
)
# after letters there is an e-mail address, except for RT: https://github.com/twitter/twitter-text (validMentionPrecedingChars, atSigns)
MENTION = re.compile(r"(?:(?<![A-Za-z0-9_])|(?<=\b[Rr][Tt]))([@\uff20])\w+")


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


def anonymous(text: str, message: Any, symbols: Iterable[str] = ()) -> str:
    """The text without the people it names: every ``@handle`` is ``@user``, that of an address of the services ``user``; names, handles and
    ids of people whom the message itself knows (its author, those it answers, passes on or mentions) are ``user``, as whole words, in
    addresses too, however they are escaped, composed or cased. A ``$SYMBOL`` stays, unless it is the author's handle and none of the
    ``symbols`` that the service tagged. What is not replaced stays as it is written."""
    author = message.get("user") or {}
    known = {*_people(message, SHORTEST_NAME), *_people(author, SHORTEST_OWN)}
    own = {*_names(author, SHORTEST_OWN, *HANDLES)}.difference(map(_folded, symbols))
    text = ADDRESS.sub(r"\1user", text)  # before names, since a service may be known, too
    if known:
        text = _replaced(rf"(?<![\w$])(?:{_any(known)})(?!\w)|\$(?:{_any(own)})(?!\w)", text)
    return MENTION.sub(r"\1user", text)


def _replaced(pattern: str, text: str) -> str:
    """The text with ``user`` for what the pattern finds in it as it is folded."""
    matches = list(re.finditer(pattern, _folded(text)))
    if not matches:
        return text
    written = _characters().findall(text)
    places = [place for place, character in enumerate(written) for _ in _folded(character)]
    for match in matches:
        first, last = places[match.start()], places[match.end() - 1]
        written[first : last + 1] = ["user", *[""] * (last - first)]
    return "".join(written)


def _folded(text: str) -> str:
    """As texts are compared: each character without case, and composed (NFC)."""
    if text.isascii():
        return text.lower()
    return "".join(unicodedata.normalize("NFC", character.casefold()) for character in _characters().findall(text))


@cache
def _characters() -> re.Pattern[str]:
    """What a reader takes for a character: one with its marks, or a syllable's letters. They are 30 at most
    (https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format), since normalising takes the square of their number: 40,000 marks 4 s."""
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c)[0] == "M" or "\u1160" <= c <= "\u11ff")
    return re.compile(f".[{marks}]{{0,30}}", re.DOTALL)


def _any(words: Collection[str]) -> str:
    """A pattern of these, the longest first; of none, one that is never found."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)"


def _people(found: Any, shortest: int) -> Iterator[str]:
    """Names, handles and longer ids in a JSON value, however deep, folded: a person is an object with a handle."""
    if isinstance(found, list):
        for item in found:
            yield from _people(item, shortest)
    elif isinstance(found, dict):
        person = any(isinstance(found.get(name), str) for name in HANDLES)
        ids = (str(found[name] or "") for name in found if name.endswith(IDS_OF) or (person and name in IDS))
        yield from (number for number in map(_folded, ids) if len(number) >= SHORTEST_ID)
        yield from _names(found, shortest, *(("name", *HANDLES) if person else ()), ANSWERED)
        for item in found.values():
            yield from _people(item, shortest)


def unescaped(text: str) -> str:
    """Without entities; a number of more digits than any character has is none."""
    return html.unescape(LONG_ENTITY.sub("", text))


def _names(person: dict[str, Any], shortest: int, *fields: str) -> Iterator[str]:
    """As they stand and, since services escape them as they do texts, unescaped."""
    found = [person[field] for field in fields if isinstance(person.get(field), str)]
    words = (_folded(form.strip()) for name in found for form in {name, unescaped(name)})
    yield from (word for word in words if len(word) >= shortest)
