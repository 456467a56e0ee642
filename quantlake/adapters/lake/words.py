"""What a catalogue or an object store answered, in one line of ours: what was found, what to do, and no secret.

Not here: what a failed commit means (``committing``, ``answers``).
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from quantlake.contract import QuantLakeError, TableSpec
from quantlake.ports import StaleWriterError

SECRETS = ("secret", "token", "password", "credential")  # in a property's name
DO = (  # what an error says -> what to do; the first that it says
    (("ExpiredToken",), "The credentials have expired: renew them, then run it again"),
    (
        ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "AccessDenied", "InvalidAccessKeyId", "InvalidClientTokenId",
         "InvalidSignature", "SignatureDoesNotMatch", "UnrecognizedClient", "Unauthorized", "NotAuthorized", "Forbidden"),
        "Look at the credentials and at what they may do, then run it again",
    ),
    (("NO_SUCH_BUCKET", "NoSuchBucket"), "Make the bucket or set QUANTLAKE_CATALOG_WAREHOUSE, then run it again"),
    (("PermanentRedirect", "AuthorizationHeaderMalformed", "HTTP status 301"), "The bucket lies in another region: set s3.region in "
     "QUANTLAKE_CATALOG_PROPERTIES"),
    (("HTTP status 400",), "Look at the credentials, which may have expired, and at the region, then run it again"),
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Those of one catalogue: ``where`` it is, and what must never be said."""

    where: str
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> "Words":
        secrets = {value for name, value in properties.items() if any(s in name.lower() for s in SECRETS)}
        where = properties.get("uri") or properties.get("glue.endpoint") or properties.get("type", "")
        parts = urlsplit(where)
        if parts.username is not None:
            secrets.add(parts.password or "")
            where = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return cls(where, tuple(s for s in secrets if s))

    def said(self, error: BaseException) -> str:
        """An error's own words; SQLAlchemy adds its statement and a link."""
        text = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text.rstrip(".")

    def failure(self, spec: TableSpec, error: Exception, done: str) -> Exception:
        """An error of what was to be ``done`` ("read", "written"), as one of ours; a bug stays what it is."""
        from pyiceberg.exceptions import CommitFailedException, ValidationException

        if isinstance(error, CommitFailedException | ValidationException):
            return StaleWriterError(
                f"{spec.sql_name} was changed by another writer meanwhile, and nothing was committed; run it again ({self.said(error)})"
            )
        if isinstance(error, QuantLakeError) or not theirs(error):
            return error
        result = "" if done == "read" else "; nothing was committed"
        return QuantLakeError(f"{spec.sql_name} cannot be {done}: {self.said(error)}{result}. {_do(error)}")

    def unavailable(self, error: Exception, how: str = "does not answer") -> QuantLakeError:
        """The catalogue itself cannot be used."""
        return QuantLakeError(f"the Iceberg catalogue {self.where} {how}: {self.said(error)}. {_do(error)}")


def theirs(error: Exception) -> bool:
    """Whether an error is the catalogue's, the storage's or their clients' own."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("sqlalchemy", "pyiceberg", "requests", "urllib3", "botocore")


def _do(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space, then run it again"
    text = f"{type(error).__name__} {error}"
    return next((do for words, do in DO if any(w in text for w in words)), "Run it again")
