"""Numba functions that let go of the interpreter's lock and are kept on disk, where there is a place to keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(signature: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for ``signature`` at once, with ``options`` of numba.njit; some seconds, where it is not kept.

    Numba keeps the machine code in NUMBA_CACHE_DIR, beside the module or in the user's cache folder. Where it can write
    to none of them (a package that is read-only and a user without a home) every process compiles anew.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, nogil=True, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder to write to, or a full disk
            return numba.njit(signature, nogil=True, **options)(function)

    return decorate
