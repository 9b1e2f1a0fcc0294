"""`gen prompt`: how the generator reads a text, without loading a model."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import click

MODEL_TOKENS = 77  # the length of a CLIP text encoder's input, start and end marks included


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each TEXT.")
def prompt(texts: tuple[str, ...], as_json: bool) -> None:
    """Show how each TEXT is read: the study, the canonical prompt, warnings and the number of tokens."""
    from gen.core.errors import BadInput
    from gen.language.prompt import read_prompt, token_budget_warning

    count_tokens = token_counter()
    failed = 0
    for text in texts:
        try:
            reading = read_prompt(text)
        except BadInput as error:
            click.echo(f"error: {textwrap.shorten(text, 60)!r}: {error}", err=True)
            failed += 1
            continue
        warnings = list(reading.warnings)
        tokens = count_tokens(reading.prompt) if count_tokens else None
        if count_tokens and (cut := token_budget_warning(reading.prompt, count_tokens, MODEL_TOKENS)):
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
            click.echo(f"  tokens: {tokens} of {MODEL_TOKENS}")
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    if failed:
        raise SystemExit(BadInput.exit_code)


def bundled_tokenizer() -> Path | None:
    """The `tokenizer.json` of the bundled model, or None where no model is bundled."""
    bundled = Path(__file__).resolve().parent.parent / "bundled"
    return next(iter(sorted(bundled.glob("*/tokenizer/tokenizer.json"))), None)


def token_counter() -> Callable[[str], int] | None:
    """Counts the tokens of a text as the bundled model does, start and end marks included; None where it cannot."""
    path = bundled_tokenizer()
    if path is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text).ids)
