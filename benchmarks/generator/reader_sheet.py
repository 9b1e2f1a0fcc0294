"""A blind reader test: how often are synthetic images told from real ones, and which are anatomically impossible?

`make` writes a page of N real and N synthetic images in random order, all re-encoded alike, with the questions beside
each and a button that saves the answers; which is which stands in a key that the page does not have. `score` compares
the saved answers with the key. Half right is guessing. Letters and black borders give a real film away: give the real
ones as `gen data prepare` makes them where the generator learnt from such. The page shows patients' images: keep it to
yourself.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks import common
from gen.core.errors import BadInput
from gen.core.files import read_json, write_json, write_text
from gen.core.manifest import Row, read_manifest
from gen.core.run import derived_seed
from gen.data.loader import to_pixels_u8
from gen.images.reader import read_radiograph
from gen.statistics.intervals import Figure, proportion

PAGE, KEY, ANSWERS = "sheet.html", ".key.json", "answers.csv"
SIZE = 256  # pixels a side of every image, whatever it was
CHOICES = ("real", "synthetic")
COLUMNS = ("image", "answer", "impossible")
_STYLE = """
body{font:15px system-ui,sans-serif;background:#111;color:#ddd;margin:1rem}
main{display:flex;flex-wrap:wrap;gap:1rem} figure{margin:0;width:17rem} img{width:17rem;image-rendering:auto}
button{font-size:1rem;padding:.5rem 1rem;margin:1rem 0} label{margin-right:.8rem}
"""
_SCRIPT = """
document.getElementById("save").onclick = () => {
  const rows = ["image,answer,impossible"];
  for (const form of document.querySelectorAll("form")) {
    const data = new FormData(form);
    rows.push([form.dataset.image, data.get("answer") || "", data.get("impossible") ? "yes" : "no"].join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "answers.csv";
  link.click();
};
"""


@dataclass(frozen=True)
class Score:
    """What a reader's answers are worth. ``right`` of all that were answered; ``found`` synthetic images called so;
    ``suspected`` real images called synthetic; ``impossible`` by kind, of all; ``named`` synthetic ones among them."""

    right: Figure
    found: Figure
    suspected: Figure
    impossible: Mapping[str, Figure]
    named: Sequence[str]


def draw(kinds: Mapping[str, Sequence[Row]], count: int, seed: int) -> list[tuple[str, Row]]:
    """``count`` rows of each kind, one image a patient, all in one random order that ``seed`` decides.

    BadInput where there are too few.
    """
    chosen: list[tuple[str, Row]] = []
    for kind, rows in kinds.items():
        single = common.one_image_a_patient(rows)
        if len(single) < count:
            raise BadInput(
                f"there are {kind} images of {len(single)} patients, and {count} are wanted", hint="lower -n"
            )
        order = np.random.default_rng(derived_seed(seed, kind)).permutation(len(single))
        chosen += [(kind, single[k]) for k in order[:count]]
    return [chosen[k] for k in np.random.default_rng(derived_seed(seed, "order")).permutation(len(chosen))]


def page(images: Sequence[np.ndarray]) -> str:
    """The page of uint8 ``images`` (S, S) with its form; numbered from 1."""
    figures = []
    for number, pixels in enumerate(images, start=1):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
        choices = "".join(
            f'<label><input type="radio" name="answer" value="{choice}">{choice}</label>' for choice in CHOICES
        )
        figures.append(
            f'<figure><img alt="image {number}" src="{source}"><form data-image="{number}"><b>{number}</b> {choices}'
            '<br><label><input type="checkbox" name="impossible">anatomically impossible</label></form></figure>'
        )
    title = f"{len(images)} chest radiographs: real or synthetic?"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p>For research only.</p>"
        f'<main>{"".join(figures)}</main><button id="save">Save the answers</button><script>{_SCRIPT}</script>'
        "</body></html>\n"
    )


def score(key: Sequence[Mapping[str, Any]], answers: Mapping[int, tuple[str, bool]]) -> Score:
    """Compare ``answers`` (by number: the choice or "", and whether it is impossible) with the ``key``."""
    told = {number: answers[number][0] for number in answers if answers[number][0]}
    kinds = {number: entry["kind"] for number, entry in enumerate(key, start=1)}
    called = {kind: [told[number] == "synthetic" for number in told if kinds[number] == kind] for kind in CHOICES}
    odd = {kind: [number for number in answers if kinds[number] == kind and answers[number][1]] for kind in CHOICES}
    shown = {kind: sum(kinds[number] == kind for number in answers) for kind in CHOICES}
    return Score(
        right=proportion(sum(told[number] == kinds[number] for number in told), len(told)),
        found=proportion(sum(called["synthetic"]), len(called["synthetic"])),
        suspected=proportion(sum(called["real"]), len(called["real"])),
        impossible={kind: proportion(len(odd[kind]), shown[kind]) for kind in CHOICES},
        named=[f"{number}: {key[number - 1]['file']}" for number in odd["synthetic"]],
    )


def read_answers(path: Path, count: int) -> dict[int, tuple[str, bool]]:
    """What the page saved; BadInput for anything else, or for answers to another sheet."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = {int(row["image"]): (row["answer"], row["impossible"] == "yes") for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} holds no answers ({error})", hint=f"save them from the page as {ANSWERS}") from error
    if set(rows) != set(range(1, count + 1)) or any(choice not in ("", *CHOICES) for choice, _ in rows.values()):
        raise BadInput(
            f"{path} is not of this sheet, which has the images 1 to {count}", hint="real, synthetic or blank"
        )
    return rows


@click.group(help=__doc__)
def main() -> None:
    """The group of the two commands."""


@main.command("make")
@click.option("--real", type=click.Path(path_type=Path), required=True, help="Folder of real images with a table.")
@click.option("--synthetic", type=click.Path(path_type=Path), required=True, help="Folder of synthetic images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the sheet.")
@click.option("-n", "count", type=click.IntRange(1), default=24, show_default=True, help="Images of each kind.")
@click.option("--split", help="Of the real images, the rows of this split only.")
@click.option("--seed", default=0, show_default=True, help="Which images, and their order.")
def make(real: Path, synthetic: Path, out: Path, count: int, split: str | None, seed: int) -> None:
    """Write the page and its key."""
    rows = common.read_splits(real)[split] if split else read_manifest(real).rows
    drawn = draw({"real": rows, "synthetic": read_manifest(synthetic).rows}, count, seed)
    images = [to_pixels_u8(read_radiograph(row.file).pixels, SIZE) for _, row in drawn]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / KEY, {"images": [{"kind": kind, "file": row.file_name} for kind, row in drawn]})
    write_text(out / PAGE, page(images))
    print(f"open {out / PAGE}, save the answers as {out / ANSWERS}, then: score {out}")


@main.command("score")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--answers", type=click.Path(path_type=Path), help=f"[default: {ANSWERS} in FOLDER]")
@common.json_option
def score_command(folder: Path, answers: Path | None, json_file: Path | None) -> None:
    """Compare the answers in FOLDER with its key."""
    key = read_json(folder / KEY)["images"]
    found = score(key, read_answers(answers or folder / ANSWERS, len(key)))
    common.print_table(
        ["", "share [95 %]", "N"],
        [
            ["told right (half is guessing)", found.right.text(2), found.right.n],
            ["synthetic, called synthetic", found.found.text(2), found.found.n],
            ["real, called synthetic", found.suspected.text(2), found.suspected.n],
            *([f"{kind}, called impossible", of.text(2), of.n] for kind, of in found.impossible.items()),
        ],
    )
    for line in found.named:
        print(f"impossible: {line}")
    common.save_json(json_file, vars(found))


if __name__ == "__main__":
    common.launch(main)
