"""The annotated settings of production variants (``deploy/profiles``), as the suites use them: over servers of this machine."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "profiles"
NAMES = sorted(path.stem for path in FOLDER.glob("*.env"))


def profile(name: str) -> dict[str, str]:
    """The settings of a variant, ``QUANTLAKE_...``; secrets are empty."""
    lines = (FOLDER / f"{name}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
