"""A judge's own figures: what a judge that sees the truth scores, what one that sees nothing does, and who counts."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen.core.manifest import Row
from gen.judge import measure
from gen.judge.degrade import KINDS, SPOILS, UNSEEN_SPOILS, blur
from gen.judge.labels import targets_of
from gen.judge.measure import COPIES, ENOUGH, artefact_figures, copy_figures, patient_figures, quality_figures
from gen.judge.network import QUALITIES
from gen.judge.readings import AnyJudge, Readings, blank
from gen.judge.reference import index_of
from gen.statistics.intervals import bootstrap

NAMES = ("Mass", "Edema")


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "bootstrap", functools.partial(bootstrap, draws=40))


def rows_of(count: int) -> list[Row]:
    """Two images a patient; every second patient has a mass, every third is a child and of another source."""
    return [
        Row(
            file=Path(f"{k}.png"),
            file_name=f"{k}.png",
            patient_id=f"p{k // 2}",
            source="b" if k // 2 % 3 == 0 else "nih-chestxray14",
            sex="MF"[k // 2 % 2],
            view="PA" if k % 2 else "AP",
            age=10.0 if k // 2 % 3 == 0 else 30.0 + k,
            findings=("Mass",) if k // 2 % 2 else ("No Finding",),
        )
        for k in range(count)
    ]


def truth(rows: list[Row]) -> Readings:
    """What a judge that sees the rows themselves would say: 0.9 and 0.1, and each age three years too high."""
    targets = targets_of(rows, NAMES, ())
    said = np.where(targets.binary == 1, 0.9, 0.1).astype(np.float32)
    seen = blank(len(rows), np.ones((len(rows), 2), np.float32), NAMES, said[:, :2])
    return dataclasses.replace(seen, female=said[:, -3], ap=said[:, -2], child=said[:, -1], age=targets.age + 3)


def test_a_judge_that_sees_the_truth_has_full_marks_in_every_group_that_can_have_one() -> None:
    rows = rows_of(48)
    found = patient_figures(truth(rows), targets_of(rows, NAMES, ()), rows, median_age=40.0)
    assert (found["findings"]["Mass"]["positive"], found["findings"]["Mass"]["negative"]) == (24, 24)
    assert found["findings"]["Mass"]["auroc"] == found["female"]["auroc"] == (1, 1, 1)
    assert found["findings"]["Mass"]["brier"] == pytest.approx((0.01, 0.01, 0.01))
    assert np.isnan(found["findings"]["Edema"]["auroc"][0])  # of which nobody is known to have it
    groups = found["groups"]
    assert groups["all"]["findings_counted"] == ["Mass"]
    assert groups["all"]["age_error_years"] == pytest.approx((3, 3, 3))
    assert (groups["age=0-17"]["films"], groups["age=0-17"]["patients"]) == (16, 8)
    assert groups["source=b"]["films"] + groups["source=nih-chestxray14"]["films"] == 48
    assert np.isnan(groups["sex=F"]["female_auroc"][0])  # one class only
    assert "age=60-79" in groups
    assert found["child_within_nih"]["positive"] == 0
    ages = targets_of(rows, (), ()).age
    assert found["always_the_median_age_error_years"][0] == pytest.approx(np.abs(ages - 40).mean())


def test_a_group_with_too_few_of_a_finding_has_no_figure_of_it() -> None:
    rows = [dataclasses.replace(row, source="c") if k < 2 * ENOUGH - 2 else row for k, row in enumerate(rows_of(48))]
    found = patient_figures(truth(rows), targets_of(rows, NAMES, ()), rows, 40.0)["groups"]
    assert found["source=c"]["findings_counted"] == []
    assert np.isnan(found["source=c"]["findings_auroc"][0])
    assert found["source=b"]["findings_counted"] == ["Mass"]


@dataclasses.dataclass(frozen=True)
class Detail(AnyJudge):
    """Embeds an image by its coarse means; calls rough images forged, and dark, smooth or empty ones bad."""

    name: str = "detail"
    fingerprint: str = "0"
    findings: tuple[str, ...] = ()

    def read(self, pixels: Any, *, on_images: Any = None) -> Readings:
        images = [np.asarray(image, np.float64) / (255 if image.dtype == np.uint8 else 1) for image in pixels]
        rough = np.asarray([np.abs(np.diff(image)).mean() for image in images], np.float32)
        means = [image.reshape(8, -1, 8, image.shape[1] // 8).mean((1, 3)).ravel() - 0.4 for image in images]
        seen = blank(len(images), np.asarray(means, np.float32).reshape(-1, 64))
        quality = np.stack([-np.abs([image.mean() - 0.45 for image in images]), rough, rough], 1)
        return dataclasses.replace(seen, artefact=rough, qualities=QUALITIES, quality=quality.astype(np.float32))


def images(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made = [blur(rng.standard_normal((64, 64)), 4) for _ in range(count)]
    grain = [0.02 * rng.standard_normal((64, 64)) for _ in range(count)]
    return [(0.45 + 0.15 * m / m.std() + g).clip(0, 1).astype(np.float32) for m, g in zip(made, grain, strict=True)]


def test_forgeries_are_told_in_their_own_direction_and_say_whether_they_were_learnt_from() -> None:
    patients = [f"p{k}" for k in range(12)]
    noise = [np.random.default_rng(k).integers(0, 256, (64, 64), np.uint8) for k in range(7)]
    found = artefact_figures(Detail(), images(12, 0), patients, {"generator": noise, "autoencoder": []})
    assert set(found) == {*SPOILS, *UNSEEN_SPOILS, "generator"}  # of nothing there is no figure
    assert found["generator"] == {"images": 7, "trained_on": True, "auroc": (1, 1, 1)}
    assert found["noise"]["auroc"][0] > 0.9
    assert found["blur"]["auroc"][0] < 0.1  # a judge that takes rough for forged is wrong about these
    assert {kind for kind, of in found.items() if not of["trained_on"]} == set(UNSEEN_SPOILS)


def test_quality_is_measured_on_the_head_that_should_notice_the_damage() -> None:
    found = quality_figures(Detail(), images(16, 1), [f"p{k}" for k in range(16)])
    assert set(found) == KINDS.keys() - {"none"}
    heads = {kind: of["head"] for kind, of in found.items()}
    assert heads["blur"] == heads["noise"] == "sharpness"
    assert heads["gamma"] == heads["inverted"] == "exposure"
    assert heads["turned"] == heads["no chest"] == "anatomy"
    assert found["blur"]["damaged"] < found["turned"]["damaged"] == 16  # a mild blur is not damage
    assert found["blur"]["auroc"][0] > 0.95
    assert found["clipped"]["auroc"][0] > 0.95


def test_planted_copies_are_found_as_the_image_that_they_are_of() -> None:
    judge, known = Detail(), images(30, 2)
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"p{k}") for k in range(30)]
    reference = index_of(judge.read(known).embedding, rows, judge.read(images(100, 3)).embedding, judge.fingerprint)
    chosen = [3, 11, 29]
    found = copy_figures(judge, reference, [known[k] for k in chosen], chosen)
    assert found["held_out"] == 100
    for name in COPIES:
        if not name.startswith("shift"):
            assert found[name] == {"found": 1, "right_film": 1}, name
    others = copy_figures(judge, reference, images(40, 4), range(40))
    assert others["noise of 0.02"]["found"] < 0.15
    assert others["noise of 0.02"]["right_film"] < 0.2
