"""The sampling job: one set of options for the command and the page, and the same images whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.run import derived_seed
from gen.images.reader import read_radiograph
from gen.model.cli import sample as command
from gen.model.sampling.job import Job, read_job, run_job, sample_job
from gen.model.sampling.pipeline import load_pipeline

HOW = {"out", "dry_run", "as_json", "quiet", "threads"}  # options of the command that do not decide what is made


def toy_job(model: Path, **options: object) -> Job:
    return Job(text="63 yo F, AP.", model=model, device="cpu", steps=2, **options)


def test_the_options_of_the_command_are_the_fields_of_a_job_with_the_same_defaults() -> None:
    options = {name: v for name, v in command.make_context("sample", []).params.items() if name not in HOW}
    assert Job(**options) == Job()


def test_what_is_on_disk_is_what_a_loaded_model_makes_of_the_same_job(toy_model: Path, tmp_path: Path) -> None:
    job = toy_job(toy_model, count=3, seed=2**40 + 5, negative="ptx")
    written: list[tuple[int, Path]] = []
    run_job(job, tmp_path / "out", on_image=lambda item, path: written.append((item.k, path)))
    read = read_job(job)
    for (k, path), (item, image) in zip(written, sample_job(read, load_pipeline(toy_model)), strict=True):
        assert (k, derived_seed(job.seed, k)) == (item.k, item.seed)
        assert np.array_equal(np.rint(image.pixels * 255), np.rint(read_radiograph(path).pixels * 255))
        assert image.provenance["negative_prompt"] == read.negative == "Pneumothorax."
    assert [row.file for row in read_manifest(tmp_path / "out").rows] == [path for _, path in written]


def test_without_a_log_it_says_nothing(toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_job(toy_job(toy_model, size=48), tmp_path / "out", on_image=lambda item, path: None)
    assert capsys.readouterr() == ("", "")
    lines: list[str] = []
    run_job(toy_job(toy_model, size=48, count=2), tmp_path / "out", on_image=lambda item, path: None, log=lines.append)
    assert [line.partition(":")[0].partition(" ")[0] for line in lines] == ["prompt", "model", "warning", "contact"]


def test_an_image_is_listed_when_who_gets_it_stops_the_job(toy_model: Path, tmp_path: Path) -> None:
    def stop(item: object, path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(toy_job(toy_model, count=3), tmp_path, on_image=stop)
    assert [row.extra["k"] for row in read_manifest(tmp_path).rows] == ["0"]
    assert not (tmp_path / "contact-sheet.png").exists()


@pytest.mark.parametrize(
    "wrong", [{"device": "gpu"}, {"dtype": "half"}, {"attention": "flash"}, {"guidance_interval": (6.0, 0.3)}]
)
def test_a_wrong_word_is_refused_before_anything_is_loaded(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        read_job(Job(text="AP view.", model=tmp_path / "nowhere", **wrong))
