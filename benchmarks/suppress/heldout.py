"""Bone suppression on CTs that no training saw, beside doing nothing, a blur and a small autoencoder.

Two of the CTs chose between networks (validation), the others did not (test). Each is projected in PA and AP, jittered,
with nodules and a mass put in. `--peer` is a network of `benchmarks.suppress.peer`, `--latent` one of
`gen train suppress-latent`.
"""

from __future__ import annotations

from pathlib import Path

import click

from augment.suppress.evaluate import evaluate
from augment.suppress.scores import table_of
from benchmarks import common
from benchmarks.suppress.ways import ways_of, ways_options
from drr.job import Job, run_job
from gen.core.manifest import read_manifest

CTS = {
    "validation": ("qin-lsc-0028.nii.gz", "qin-lsc-0049.nii.gz"),
    "test": ("lung1-008.nii.gz", "lung1-013.nii.gz"),
}
LESIONS = ("Nodule:mild", "Nodule:mild", "Nodule:moderate", "Nodule:severe", "Mass:mild")  # from 6 mm on, most small
POSES = 3  # of each view

pairs_option = click.option(
    "--pairs", type=click.Path(path_type=Path), default=common.WORK / "suppress-heldout", show_default=True
)


def make_pairs(cts: Path, folder: Path) -> dict[str, Path]:
    """The folders of pairs of either part, made where they are missing."""
    made = {}
    for part, names in CTS.items():
        job = Job(
            cts=tuple(cts / name for name in names), views=("PA", "AP"), variants=POSES, jitter=True, pairs=True,
            masks="auto", bits=16, seed=11, lesions=LESIONS,
        )  # fmt: skip
        made[part] = folder / part
        run_job(job, made[part], on_image=lambda path, truth: None)
    return made


@click.command()
@common.cts_option
@ways_options
@pairs_option
@common.json_option
def main(
    cts: Path, model: Path | None, peer: Path | None, latent: Path | None, pairs: Path, json_file: Path | None
) -> None:
    """Measure bone suppression on held-out CTs."""
    from tqdm import tqdm

    methods = ways_of(model, peer, latent)
    figures = {}
    for part, folder in make_pairs(cts, pairs).items():
        with tqdm(total=len(read_manifest(folder).rows), unit="image") as bar:
            scores = evaluate(folder, methods, bar.update)
        print(f"\n{part}: {', '.join(CTS[part])}, {len(scores.patients)} images\n")
        print(table_of(scores))
        figures[part] = scores.as_dict()
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
