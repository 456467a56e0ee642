"""QuantLake from Python: ``quantlake.lake().table("curated/market/trades", as_known_at="2024-03-05T14:30:00Z")``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantlake.serving.frames import Tables


def lake() -> "Tables":
    """The tables of this process's home and profile (``QUANTLAKE_HOME``, ``QUANTLAKE_PROFILE``) as lazy polars frames."""
    from quantlake.serving.frames import Tables
    from quantlake.wiring import catalog, platform

    return Tables(catalog(), platform())
