"""Secrets that a home makes for itself.

Here: one file, readable by its owner alone. Not here: secrets that a deployment is given (settings).
"""

import secrets
from pathlib import Path

from quantlake.adapters.locks import file_lock
from quantlake.contract import QuantLakeError


def kept(path: Path, lock: Path) -> str:
    """The secret of a file, made at its first use: 256 random bits in hex. Raises ``QuantLakeError`` where it cannot be read or made."""
    try:
        with file_lock(lock, what=f"the secret {path}"):  # two first uses at once would make two
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                staged = path.with_name(f"{path.name}.staged")
                staged.touch(mode=0o600)
                staged.write_text(secrets.token_hex(32))
                staged.replace(path)
            return path.read_text()
    except OSError as error:
        raise QuantLakeError(f"the secret {path} cannot be kept: {error.strerror}") from error
