"""``gen data``: looks after folders of radiographs. ``check`` reads every image and label, and counts what is there."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from gen.core.errors import BadInput, GenError, Remark
from gen.core.files import sha256_file
from gen.core.manifest import SPLITS, Manifest, Row, scan_manifest
from gen.core.terms import FINDINGS, SEXES, STATES, VIEWS, did_you_mean, standard_name
from gen.data.split import patient_of
from gen.statistics.groups import AGE_BANDS, age_band

UNKNOWN = "unknown"


@click.group()
def data() -> None:
    """Check and prepare folders of radiographs."""


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the counts and the problems.")
def check(folder: Path, as_json: bool) -> None:
    """Validate the data set in DIR: a folder with metadata.csv, or with one in each of train/, validation/ and test/.

    Every image must be readable and have the SHA-256 and the size that its row gives, labels must be standard terms
    that do not contradict each other, and no patient may be in two splits. Each culprit is one line on stderr.
    """
    report = check_folder(folder)
    for remark in report.remarks:
        click.echo(f"warning: {remark}", err=True)
    for problem in report.problems:
        click.echo(problem, err=True)
    click.echo(json.dumps(report.to_json_dict(), ensure_ascii=False) if as_json else report.to_text())
    if report.problems:
        raise BadInput(f"{folder} has {len(report.problems)} problem(s)", hint="each is named above")


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the prepared data set.")
@click.option("--size", default=256, show_default=True, help="Side of the prepared images, in pixels.")
@click.option(
    "--like",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A prepared set whose frame is used [default: the package's].",
)
@click.option("--new-frame", is_flag=True, help="Learn a frame from these images; some hundreds are needed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prepare(folder: Path, out: Path, size: int, like: Path | None, new_frame: bool, as_json: bool) -> None:
    """Bring the radiographs of DIR into one frame and one exposure, without borders and burnt-in marks.

    Chests are aligned with the frame of the package, with that of --like, or with each other (--new-frame). What does
    not fit (laterals, other body parts, images cut too tight) is listed in left_out.csv with the reason. What was begun
    is finished by the same command. The exit code is 1 where an image cannot be read.
    """
    import sys

    from gen.data import prepare as preparation

    config = preparation.PrepareConfig(str(folder), size, str(like) if like else None, new_frame)
    manifest, left, unread = preparation.prepare(config, out, sys.argv)
    if as_json:
        click.echo(json.dumps({"images": len(manifest.rows), "left_out": len(left), "out": str(out)}))
    else:
        if new_frame and len(manifest.rows) < 500:
            click.echo(
                f"warning: {len(manifest.rows)} images are few to learn a frame from: look at them",
                err=True,
            )
        click.echo(f"{len(manifest.rows)} image(s) in {out}; {len(left)} left out, named in {preparation.LEFT_OUT}")
    for problem in unread:
        click.echo(f"error: {problem}", err=True)
    if unread:
        raise GenError(f"{len(unread)} of {len(manifest.rows) + len(left)} images could not be read, as listed above")


@dataclass(frozen=True)
class Report:
    """What a folder holds: ``counts`` says of what -> of which value -> how many images, in a canonical order.

    ``problems`` are errors, one line each; ``remarks`` name images that are valid and odd, as nearly black ones are.
    """

    folder: Path
    images: int
    patients: int
    counts: dict[str, dict[str, int]]
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, object]:
        """The report as plain types for JSON."""
        head = {"folder": str(self.folder), "images": self.images, "patients": self.patients}
        return {**head, "counts": self.counts, "problems": list(self.problems), "remarks": list(self.remarks)}

    def to_text(self) -> str:
        """The report as blocks of lines for people, one block for each kind of count."""
        lines = [f"{self.images} images of {self.patients} patients in {self.folder}"]
        for title, counts in self.counts.items():
            if counts:
                lines += ["", title, *(f"  {name:<44}{count:>8}" for name, count in counts.items())]
        return "\n".join(lines)


def check_folder(folder: Path) -> Report:
    """Read all of the data set in ``folder``; BadInput where it holds no table at all, a problem line for the rest."""
    from tqdm import tqdm

    manifest, problems = scan_manifest(folder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Remark)
        for row in tqdm(manifest.rows, unit="image", disable=None, leave=False):
            where = f"{row.split}/{row.file_name}" if row.split else row.file_name
            problems += [f"{where}: {problem}" for problem in (*_label_problems(row), *_image_problems(row))]
    remarks = tuple(str(each.message) for each in said if issubclass(each.category, Remark))
    problems += [*_split_problems(manifest), *_copies(manifest)]
    patients = {row.patient_id for row in manifest.rows if row.patient_id}
    return Report(
        manifest.folder, len(manifest.rows), len(patients), count_rows(manifest.rows), tuple(problems), remarks
    )


def count_rows(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Images by finding (a table for each state), sex, age band, view, split, source and whether weights may learn."""
    by_state = {"present": "findings", "absent": "absent", "uncertain": "uncertain"}
    named = {
        state: [
            term for row in rows for term in {standard_name(name) or name for name in getattr(row, by_state[state])}
        ]
        for state in STATES
    }
    return {
        **{f"findings {state}": _ordered(terms, FINDINGS) for state, terms in named.items()},
        "sex": _ordered([row.sex for row in rows], SEXES),
        "age": _ordered(["" if row.age is None else age_band(row.age) for row in rows], tuple(AGE_BANDS)),
        "view": _ordered([row.view for row in rows], VIEWS),
        "split": _ordered([row.split for row in rows if row.split], SPLITS),
        "source": _ordered([row.source for row in rows]),
        "weights_may_learn": _ordered(["yes" if row.weights_may_learn else "no" for row in rows], ("yes", "no")),
    }


def _ordered(values: Sequence[str], order: Sequence[str] = ()) -> dict[str, int]:
    """How often each value occurs: those of ``order`` first, then the others by name, what is not known last."""
    counted = Counter(values)
    names = [*(name for name in order if name in counted), *sorted(set(counted) - {*order, ""})]
    return {name: counted[name] for name in names} | ({UNKNOWN: counted[""]} if "" in counted else {})


def _label_problems(row: Row) -> Iterator[str]:
    from gen.data.rows import study_of

    names = list(dict.fromkeys((*row.findings, *row.absent, *row.uncertain)))
    unknown = [name for name in names if standard_name(name) is None]
    for name in unknown:
        near = did_you_mean(name, FINDINGS)
        apart = [standard_name(part) for part in re.split(r"[|,/]", name)]
        hint = f"; did you mean {near!r}?" if near else ""
        if len(apart) > 1 and all(apart):
            hint = "; write ';' between labels"
        yield f"label {name!r} is not a standard term{hint}"
    lists = (row.findings, row.absent, row.uncertain)
    given = [[standard_name(name) or name for name in column] for column in lists]
    for term in sorted({term for terms in given for term in terms if terms.count(term) > 1}):
        spellings = [name for name in names if standard_name(name) == term and name != term]
        also = f", also as {' and '.join(map(repr, spellings))}" if spellings else ""
        yield f"label {term!r} is given more than once{also}"
    if unknown:
        return
    try:
        study = study_of(row)
        columns = study_of(dataclasses.replace(row, study=""))
    except GenError as error:
        yield error.message.removeprefix(f"{row.file_name}: ")
        return
    # A study may say more than the columns, which know no side and no severity, but nothing else.
    said = [(key, getattr(study, key), getattr(columns, key)) for key in ("age", "sex", "view")]
    for name, finding in columns.findings.items():
        said.append((name, study.findings[name].state if name in study.findings else "not named", finding.state))
    for what, here, there in said:
        if there is not None and here != there:
            yield f"column study contradicts the others: {what} is {here} in it and {there} in them"


def _image_problems(row: Row) -> Iterator[str]:
    from gen.images.reader import read_radiograph

    try:
        height, width = read_radiograph(row.file).pixels.shape
        digest = sha256_file(row.file) if row.sha256 else ""
    except (GenError, OSError) as error:  # one bad file is no reason to leave the others unread
        yield (error.message if isinstance(error, GenError) else str(error)).removeprefix(f"{row.file}: ")
        return
    if (row.width or width, row.height or height) != (width, height):
        yield f"the table says {row.width} x {row.height} pixels, and the image has {width} x {height}"
    if digest != row.sha256.lower():
        yield "its SHA-256 differs from the one in the table"


def _copies(manifest: Manifest) -> Iterator[str]:
    owners: dict[str, dict[str, Row]] = {}
    for row in manifest.rows:
        if row.sha256:
            owners.setdefault(row.sha256.lower(), {}).setdefault(patient_of(row), row)
    for digest, patients in owners.items():
        if len(patients) > 1:
            files = ", ".join(row.file_name for row in patients.values())
            yield f"{len(patients)} patients have the same image (SHA-256 {digest[:16]}...): {files}"


def _split_problems(manifest: Manifest) -> Iterator[str]:
    splits: dict[str, set[str]] = {}
    for row in manifest.rows:
        if row.split and row.patient_id:
            splits.setdefault(row.patient_id, set()).add(row.split)
        elif row.split:
            yield f"{row.split}/{row.file_name}: patient_id is blank, so the patient may be in another split too"
    for patient, among in splits.items():
        if len(among) > 1:
            yield f"patient {patient!r} is in {' and '.join(split for split in SPLITS if split in among)}"
