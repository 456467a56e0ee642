"""Clients of catalogues and object stores that wait and ask again, but not for ever: pyiceberg sets no time limit of its own.

Here: how long, how often. Not here: what a lost answer means (``answers``).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyarrow.fs import AwsStandardS3RetryStrategy

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

ATTEMPTS = 5  # with the waits between them some 10 s; boto's ten are a minute until a server that is down is said to be
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
DEFAULTS = {
    "s3.connect-timeout": f"{CONNECT_SECONDS:.0f}", "s3.request-timeout": f"{ANSWER_SECONDS:.0f}",
    "s3.retry-strategy-impl": f"{__name__}.S3Retries", "glue.max-retries": str(ATTEMPTS),
}  # fmt: skip


class S3Retries(AwsStandardS3RetryStrategy):  # type: ignore[misc]
    """AWS's own: connections, 5xx and throttling, with growing waits."""

    def __init__(self) -> None:
        super().__init__(max_attempts=ATTEMPTS)


def opened(properties: Mapping[str, str]) -> "Catalog":
    """The catalogue of these properties, over the defaults above."""
    from pyiceberg.catalog import load_catalog

    known: dict[str, Any] = {**DEFAULTS, **properties}
    known["glue.max-retries"] = int(known["glue.max-retries"])  # pyiceberg hands it to boto as it is, which takes no text
    return _rest(known) if known.get("type") == "rest" else load_catalog("quantlake", **known)


def _rest(properties: Mapping[str, str]) -> "Catalog":
    from pyiceberg.catalog.rest import RestCatalog
    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    # reads alone are asked again: a commit that is sent twice conflicts with itself
    retries = Retry(
        ATTEMPTS - 1, read=2, allowed_methods=("GET", "HEAD"), status_forcelist=(429, 502, 503, 504), backoff_factor=0.3, raise_on_status=False,
        respect_retry_after_header=False,
    )  # fmt: skip

    class Patient(HTTPAdapter):
        def send(self, request: PreparedRequest, *others: Any, **options: Any) -> Response:
            options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, ANSWER_SECONDS)
            return super().send(request, *others, **options)

    class Rest(RestCatalog):
        def _create_session(self) -> Session:
            session = super()._create_session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, Patient(max_retries=retries))
            return session

    return Rest("quantlake", **properties)


def object_store(properties: Mapping[str, str]) -> dict[str, str]:
    """A table's file properties for polars, which plans with pyiceberg but reads with a client of its own: without, with none of them."""
    # as pyiceberg falls back; a name without a dot (the catalogue's token) polars would hand on as the store's own
    common = {f"s3.{name.removeprefix('client.')}": value for name, value in properties.items() if name.startswith("client.")}
    return {name: value for name, value in {**common, **properties}.items() if name.startswith("s3.")}
