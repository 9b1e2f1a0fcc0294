"""`gen prompt`: how the generator reads a text, without loading a model."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence

import click


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each TEXT.")
def prompt(texts: tuple[str, ...], as_json: bool) -> None:
    """Show how each TEXT is read: the study, the canonical prompt, warnings and the number of tokens."""
    from gen.core.errors import BadInput
    from gen.language.prompt import read_prompt, token_budget_warning
    from gen.language.render import with_style

    count_tokens, limit, style = _bundled_counter()
    failed = 0
    for text in texts:
        try:
            reading = read_prompt(text)
        except BadInput as error:
            click.echo(f"error: {textwrap.shorten(text, 60)!r}: {error}", err=True)
            failed += 1
            continue
        warnings = list(reading.warnings)
        whole = with_style(reading.prompt, style)
        tokens = count_tokens(whole) if count_tokens else None
        if count_tokens and (cut := token_budget_warning(whole, count_tokens, limit)):
            warnings.append(cut)
        study = reading.study.to_json_dict()
        if as_json:
            row = {"study": study, "prompt": reading.prompt, "warnings": warnings, "tokens": tokens}
            click.echo(json.dumps(row, ensure_ascii=False))
            continue
        click.echo(reading.prompt)
        for key, value in study.items():
            if key == "findings":
                for name, finding in value.items():
                    click.echo(f"  {name}: {', '.join(v for v in finding.values() if v)}")
            elif value not in (None, []):
                click.echo(f"  {key}: {', '.join(value) if isinstance(value, list) else value}")
        if tokens is not None:
            click.echo(f"  tokens: {tokens} of {limit}")
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    if failed:
        raise SystemExit(BadInput.exit_code)


def _bundled_counter() -> tuple[Callable[[str], int] | None, int, Sequence[str]]:
    """The `token_counter` of the bundled model, and the words on its style; a text is read without a model too."""
    from gen.core.bundled import bundled_model
    from gen.core.errors import BadInput
    from gen.core.files import read_json
    from gen.language.render import longest_style
    from gen.language.tokens import token_counter

    try:
        folder = bundled_model()
    except BadInput:
        return None, 0, ()
    told = folder / "capabilities.json"
    style = longest_style(read_json(told).get("style", ())) if told.is_file() else ()
    return *token_counter(folder / "tokenizer"), style
