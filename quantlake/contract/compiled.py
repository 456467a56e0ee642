"""Loops that numba compiles, for what cannot be done column by column.

Here: how they are compiled and kept. Not here: any of them. Importing this costs numba's import: modules of loops alone do, and they are
imported inside functions.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Kept on disk, if there is a place for it: an image that cannot be written to compiles at each start."""
    try:
        return cast(F, numba.njit(cache=True)(function))
    except RuntimeError:  # numba's word for no such place
        return cast(F, numba.njit(function))
