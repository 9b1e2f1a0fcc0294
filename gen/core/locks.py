"""POSIX locks on open files, which a killed process loses at once, and which hold over the nodes of a shared disk."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

from gen.core.errors import EnvironmentLacks


def lock(stream: IO[Any], *, wait: bool = True, byte: int | None = None) -> bool:
    """Lock the whole file ``stream``, or one ``byte`` of it, until it is closed; returns whether that was done.

    It is not done only where another process has it and ``wait`` is False. Not a flock, which would live on in forked
    data loaders after a kill. A process loses all its locks on a file as soon as it closes that file once.
    Raises EnvironmentLacks on a file system without such locks.
    """
    length, start = (0, 0) if byte is None else (1, byte)
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except OSError as error:
        if not wait and error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        hint = "choose a folder on a file system with POSIX locks"
        raise EnvironmentLacks(f"cannot lock {stream.name}: {error.strerror}", hint=hint) from error
    return True
