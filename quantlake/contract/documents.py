"""Documents that rows name instead of holding them: what identifies one, and where it is kept.

Here: the columns of a row that names one, the address that follows from its content. Not here: where the bytes lie (ports, adapters).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from quantlake.contract.columns import Column
from quantlake.contract.types import Text

OBJECT_URI = re.compile(r"objects/[0-9a-f]{2}/([0-9a-f]{64})")

OBJECT_COLUMNS = (
    Column("object_uri", Text, "Where the document as received is kept, within the lake's folder or bucket.", null=True, provenance=True),
    Column("object_hash", Text, "sha256 of the document's bytes.", null=True, provenance=True),
)


@dataclass(frozen=True)
class Document:
    """A document as received. Its ``uri`` is relative to the lake, so that a home or bucket that is moved keeps its rows' documents."""

    content: bytes

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def uri(self) -> str:
        return f"objects/{self.hash[:2]}/{self.hash}"
