"""Trying once more what failed: an image must follow from its row and seed, and not from a machine's bad moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gen.core.errors import GenError

AGAIN = "run the same command again: it goes on"

T = TypeVar("T")


def retry(what: str, make: Callable[..., T], *arguments: Any) -> T | GenError:
    """What ``make`` returns; of what fails twice the reason, for the row must then have another image.

    GenError is raised where twice the disk or the memory failed: that is no row's fault, and would be another's image.
    """
    failure = GenError(what)
    for last in (False, True):
        try:
            return make(*arguments)
        except GenError as error:
            failure = error
        except Exception as error:  # of anybody's library or function
            reason = " ".join(str(error).split())[:200]
            failure = GenError(f"{what} failed: {type(error).__name__}: {reason}", hint=AGAIN)
            if last and isinstance(error, MemoryError | OSError):
                raise failure from error
    return failure
