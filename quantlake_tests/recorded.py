"""Recorded data for tests: real recordings that are no part of the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def recorded(relative: str) -> Path:
    """A file or folder of the recorded data (in ``QUANTLAKE_DATA``, by default ``../shared/data``), or a skip."""
    folder = Path(os.environ.get("QUANTLAKE_DATA") or ROOT.parent / "shared" / "data")
    path = folder / relative
    if not path.exists():
        pytest.skip(f"no recorded data at {path}; name its folder in QUANTLAKE_DATA")
    return path
