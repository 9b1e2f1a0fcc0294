"""The ``gen`` program: a click group whose commands are entry points, loaded only when called, so that help is quick.

Every error ends here, as one line on stderr and an exit code; a traceback reaches a user only with ``--debug``.
Shell completion is click's own: ``eval "$(_GEN_COMPLETE=bash_source gen)"`` (or ``zsh_source``, ``fish_source``).
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from gen import __version__
from gen.core.bundled import pip_install
from gen.core.errors import EnvironmentLacks, GenError, Remark

COMMAND_GROUP = "cxr_gen.commands"


class EntryPointGroup(click.Group):
    """A click group that finds its commands among the installed entry points of ``COMMAND_GROUP``."""

    def _found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=COMMAND_GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._found().get(cmd_name)
        try:
            return None if point is None else _load(point)
        except EnvironmentLacks:
            if ctx.resilient_parsing:  # shell completion: offer the other commands
                return None
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and name not in self._found():
            raise click.exceptions.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # A command that cannot be loaded is listed with the reason: it must not take the help of the others away.
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
                rows.append((name, command.get_short_help_str(limit=1000) if command else ""))
            except GenError as error:
                rows.append((name, f"(not available: {error.message})"))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except (ImportError, AttributeError) as error:
        raise EnvironmentLacks(f"command '{point.name}' cannot be loaded: {error}") from error
    assert isinstance(command, click.Command), f"{point.value} is not a click command"
    return command


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="gen", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def gen(ctx: click.Context, debug: bool) -> None:
    """Synthetic chest radiographs, each with its labels and its provenance.

    For research use only, not for clinical use.
    """
    ctx.obj["debug"] = debug


def main(args: Sequence[str] | None = None) -> None:
    """Run ``gen`` with ``args`` (default: the command line) and exit: 0, 1, 2, 3 or 130 as gen/core/errors.py says."""
    settings = {"debug": False}
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *rest, **more: (
        f"warning: {_one_line(message)}\n" if issubclass(category, Remark) else plain(message, category, *rest, **more)
    )
    try:
        result = gen.main(args=args, prog_name="gen", standalone_mode=False, obj=settings)
        code = result if isinstance(result, int) else 0  # an int is what ctx.exit() was given
    except Exception as error:
        code, line = _code_and_line(error)
        if settings["debug"]:
            sys.excepthook(type(error), error, error.__traceback__)
        if line:
            click.echo(line, err=True)
    sys.exit(code)


def _code_and_line(error: BaseException) -> tuple[int, str]:
    """The exit code and the one line that tell a user about ``error``."""
    if isinstance(error, GenError):
        return error.exit_code, f"error: {error}"
    if isinstance(error, click.Abort):  # click's word for Ctrl-C and for end of input at a question
        said = getattr(error.__cause__, "__notes__", [])[-1:]  # by `gen.core.run`, where the work can go on
        return 130, "; ".join(["interrupted", *said])
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.exit_code, error.format_message()
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = f" (see '{context.command_path} --help')" if context is not None else ""
        return error.exit_code, f"error: {_one_line(error.format_message())}{where}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not imported for a name
        return 1, f"error: out of memory{_because(error)}; try fewer images at a time, or another --device"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("gen"):
        return 3, f"error: package '{error.name}' is not installed; run 'make setup', or {pip_install(error.name)}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return 1, f"error: no space left on the disk{_of_file(error)}; free some and run the same command again"
    if isinstance(error, OSError) and error.strerror:
        return 1, f"error: {error.strerror}{_of_file(error)}"
    return 1, f"error: {type(error).__name__}{_because(error)}; this was not foreseen, 'gen --debug ...' shows where"


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _because(error: BaseException) -> str:
    return f": {_one_line(error)[:300]}" if str(error) else ""


def _of_file(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


if __name__ == "__main__":
    main()
