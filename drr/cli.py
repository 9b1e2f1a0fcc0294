"""``gen drr``: radiographs from CTs or from the phantom, with their truth. Nothing heavy is imported for its help."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gen.core.errors import BadInput, GenError
from gen.core.threads import use_threads

DEFAULT_OUT = Path("outputs/drr")


@click.command(name="drr")
@click.argument("cts", nargs=-1, metavar="[CT]...", type=click.Path(path_type=Path))
@click.option("--phantom", is_flag=True, help="Project the built-in thorax phantom instead of a CT.")
@click.option("--sex", type=click.Choice(["M", "F"], case_sensitive=False), help="Of the phantom [default: drawn].")
@click.option("--age", type=click.IntRange(18, 100), help="Of the phantom, in years [default: drawn].")
@click.option("--habitus", type=click.Choice(["slim", "average", "large"]), help="Of the phantom [default: drawn].")
@click.option(
    "--view",
    "views",
    multiple=True,
    default=("PA",),
    show_default=True,
    metavar="VIEW",
    help="PA, AP, lateral, LAO or RAO (obliques), or degrees as 30/10 (DICOM's primary and secondary); repeatable.",
)
@click.option(
    "-n", "--n", "variants", type=click.IntRange(1), default=1, show_default=True, help="Variants of each view."
)
@click.option("--jitter", is_flag=True, help="Vary pose and distance of each image a little.")
@click.option(
    "--lesion",
    "lesions",
    multiple=True,
    metavar="TEXT",
    help='Insert a finding or a device: "effusion right moderate" or "Pleural Effusion:right,moderate"; repeatable.',
)
@click.option("--pairs", is_flag=True, help="Write the soft-tissue and the bone image beside each image.")
@click.option("--paths", is_flag=True, help="Write the line integrals by material (NPZ, mm of water).")
@click.option("--masks", metavar="SEG", help="Project a label map of the CT; 'auto': the phantom's own, or the lungs.")
@click.option("--mask-names", type=click.Path(path_type=Path), help="Names of the labels, as CSV or JSON.")
@click.option("--kvp", type=float, help="Tube voltage [default: 120, and 90 for AP].")
@click.option("--sdd", "sdd_mm", type=click.FloatRange(300, 5000), help="Source to detector, mm [default: the view's].")
@click.option("--sod", "sod_mm", type=click.FloatRange(200, 5000), help="Source to patient, mm [default: the view's].")
@click.option(
    "--field", "field_mm", type=click.FloatRange(100, 1000), default=430, show_default=True, help="Detector, mm."
)
@click.option("--size", type=click.IntRange(64, 4096), default=1024, show_default=True, help="Detector pixels a side.")
@click.option("--clahe", is_flag=True, help="Equalize contrast locally.")
@click.option("--bits", type=click.Choice([8, 16]), default=8, show_default=True, help="Of the PNG.")
@click.option("--dicom", type=click.Choice(["MONOCHROME2", "MONOCHROME1"]), help="Write each image as DICOM, too.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Decides what is drawn.")
@click.option("--licence", default="", help="Of the CTs, for the manifest.")
@click.option("--weights-may-learn", is_flag=True, help="The licence of the CTs lets weights learn from them.")
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="Folder.")
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads [default: OMP_NUM_THREADS, or the cores that are free]."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bar, no remarks.")
def drr(
    phantom: bool, views: tuple[str, ...], out: Path, threads: int | None, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Make radiographs from CTs (NIfTI, NRRD, MHA, DICOM folders or multi-frame files), with masks, twins and labels.

    The folder that they are written to is a data set: metadata.csv lists every image, truth/ tells where source and
    detector stood and what was inserted. The same command goes on where it was stopped. For research use only, not for
    clinical use.
    """
    from drr.geometry import OBLIQUE, parse_view
    from drr.job import Job, run_job

    threads = use_threads(threads)
    job = Job(views=tuple(dict.fromkeys(parse_view(view).name for view in views)), **options)
    if phantom == bool(job.cts):
        raise BadInput(
            "--phantom and a CT exclude each other" if phantom else "no CT was given",
            hint="name a file or a DICOM folder, or use --phantom",
        )
    if not quiet and "oblique" in {view.strip().casefold() for view in views}:
        click.echo(f"warning: oblique is taken as {OBLIQUE}; write LAO (left anterior) or RAO (right)", err=True)
    if not quiet and job.variants > 1 and job.cts and not job.jitter and not job.lesions:
        click.echo("warning: without --jitter or --lesion the variants of a view differ in noise alone", err=True)

    def print_image(path: Path, truth: Mapping[str, Any]) -> None:
        click.echo(json.dumps({"file": str(path), **truth}, ensure_ascii=False) if as_json else str(path))

    def print_remark(text: str) -> None:
        if not quiet:
            click.echo(f"warning: {text}", err=True)

    done = run_job(
        job, out, threads=threads, command=sys.argv, on_image=print_image, on_remark=print_remark, quiet=quiet
    )
    if not quiet:
        click.echo(f"{done.images} image(s) in {out}, listed in {out / 'metadata.csv'}", err=True)
    if done.failures:
        for line in done.failures:
            click.echo(f"failed: {line}", err=True)
        raise GenError(
            f"{len(done.failures)} CT(s) or view(s) could not be projected, as listed above; {done.images} could"
        )
