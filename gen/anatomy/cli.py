"""`gen segment`: the command line of the anatomy network; all that is heavy comes later."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|DIR...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the masks.")
@click.option("--multilabel", is_flag=True, help="One label map an image, instead of one mask an organ.")
@click.option("--network", type=click.Path(path_type=Path), help="An anatomy network's folder [default: the bundled].")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def segment(
    ctx: click.Context,
    images: tuple[Path, ...],
    out: Path,
    multilabel: bool,
    network: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Outline lungs, heart, mediastinum, clavicles, ribs, spine and abdomen in radiographs, and measure them.

    Each IMAGE (PNG, JPEG, DICOM), or image in a DIR, gets masks in masks/, a picture with outlines in outlines/ and its
    measurements in metadata.csv, such as the cardiothoracic ratio. Masks may overlap; in a label map, labels.json names
    the numbers, and bones lie over heart and lungs. What is not one upright frontal chest gets no mask, and stands in
    left_out.csv with the reason; the exit code is 1 where a file cannot be read. The same command goes on where it
    stopped. For research use only, not for clinical use.
    """
    from tqdm import tqdm

    from gen.anatomy.folder import load_anatomy
    from gen.anatomy.segment import problems_of
    from gen.anatomy.segment import segment as run
    from gen.images.files import image_files

    files = image_files(images)
    anatomy = load_anatomy(network, device)
    with tqdm(total=len(files), desc="segmenting", unit="image", leave=False, disable=quiet) as bar:
        lines = run(anatomy, files, out, multilabel=multilabel, command=sys.argv, on_image=lambda line: bar.update())
    for problem in problems_of(lines):
        click.echo(f"no masks: {problem}", err=True)
    for line in lines if as_json else ():
        click.echo(json.dumps(line, ensure_ascii=False))
    if not as_json:
        click.echo(str(out))
    if any(not line["sha256"] for line in lines):  # could not be read; that an image shows no chest is an answer
        ctx.exit(1)
