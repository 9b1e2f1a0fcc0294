"""The exceptions a user may see, one line each; raised near the cause, caught once in the CLI. With their exit codes:

GenError              1   the work failed or is incomplete
├── BadInput          2   a flag, config, file, data set or model folder is wrong
└── EnvironmentLacks  3   a package, a device or disk space is missing
"""

from __future__ import annotations

from functools import partial


class GenError(Exception):
    """The work failed; ``str(error)`` is always one line: what, which file or key, why, and the hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split()) if hint else None
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # The keyword-only hint does not survive the default pickling, and errors cross process boundaries.
        return partial(type(self), self.message, hint=self.hint), ()


class BadInput(GenError):
    """What the user gave is wrong: a flag, a config, a file, a data set or a model folder."""

    exit_code = 2


class EnvironmentLacks(GenError):
    """The machine lacks something: a package, a device, disk space before the start."""

    exit_code = 3


class Remark(UserWarning):
    """What was read or done all the same, and is worth a look; the command line prints it as one line."""
