"""Bodies for Studies: what a body shows is what was asked for, where it was asked for, and in the model's frame."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augment.bodies.make import PhysicalBodies, open_bodies
from gen.anatomy.frame import BOX
from gen.core.errors import BadInput
from gen.language.study import Finding, Study
from gen.model.sampling.anatomy import Body

SIZE = 64


def body(study: Study, seed: int = 3, *, canonical: bool = True) -> Body:
    return PhysicalBodies(threads=1).make(study, seed, SIZE, canonical=canonical)


def study(finding: str, side: str | None = None, **facts: object) -> Study:
    return replace(Study(age=60, sex="F", view="PA", findings={finding: Finding(side=side)}), **facts)


@pytest.mark.parametrize("canonical", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("finding", ["Pleural Effusion", "Mass", "Pneumothorax"])
def test_a_finding_lies_in_the_lung_that_it_was_asked_for(finding: str, side: str, canonical: bool) -> None:
    made = body(study(finding, side), canonical=canonical)
    lesion = made.masks[f"{finding.lower().replace(' ', '_')}_{side}"]
    lungs = {name: made.masks[f"{name} lung"] for name in ("right", "left")}
    other = lungs.pop("left" if side == "right" else "right")
    assert lesion.any()
    assert (lesion & lungs[side]).sum() > 5 * (lesion & other).sum()
    assert made.study.findings[finding].side == side
    assert np.argwhere(made.masks["right lung"])[:, 1].mean() < np.argwhere(made.masks["left lung"])[:, 1].mean()


def test_the_lungs_fill_the_box_of_the_frame_and_the_middle_has_its_exposure() -> None:
    made = body(study("No Finding"))
    rows, columns = np.nonzero(made.masks["right lung"] | made.masks["left lung"])
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) * (2 / SIZE) ** 2
    assert area == pytest.approx(BOX[0] * BOX[1], rel=0.08)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(SIZE / 2, abs=0.03 * SIZE)
    middle = made.image.pixels[SIZE // 8 : -SIZE // 8, SIZE // 8 : -SIZE // 8]
    assert np.quantile(middle, 0.5) == pytest.approx(0.55, abs=0.05)


def test_bone_is_what_the_image_has_over_its_soft_tissue() -> None:
    made = body(study("No Finding"))
    ribs = made.masks["ribs"] & (made.masks["right lung"] | made.masks["left lung"])
    away = (made.masks["right lung"] | made.masks["left lung"]) & ~made.masks["ribs"] & ~made.masks["spine"]
    assert made.bone[ribs].mean() > 3 * abs(made.bone[away]).mean() > 0
    assert (made.image.pixels - made.bone).min() > -1e-6


def test_study_and_seed_decide_a_body() -> None:
    wanted = study("Nodule", devices=("pacemaker",), view="AP")
    one, again, other = body(wanted), body(wanted), body(wanted, 4)
    assert one.image.pixels.tobytes() == again.image.pixels.tobytes() != other.image.pixels.tobytes()
    assert one.facts == again.facts
    assert (one.study.sex, one.study.age, one.study.view, one.study.devices) == ("F", 60, "AP", ("pacemaker",))
    assert one.image.provenance["synthetic"] == "yes"
    assert one.weights_may_learn


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (study("Pneumonia"), "Pneumonia cannot be put into a CT"),
        (Study(age_group="child"), "the phantom is an adult"),
        (Study(race="Asian"), "nobody's race"),
    ],
)
def test_what_no_body_can_show_is_said(wanted: Study, reason: str) -> None:
    assert reason in str(PhysicalBodies().obstacle(wanted))
    with pytest.raises(BadInput, match=reason):
        body(wanted)


def test_the_terms_of_a_ct_are_those_of_the_index_beside_it(chest_files: Path, tmp_path: Path) -> None:
    ct = tmp_path / "chest.nii.gz"
    shutil.copy(chest_files / ct.name, ct)
    alone = open_bodies(str(ct))
    assert (alone.licence, alone.weights_may_learn) == ("", False)
    index = "file,source,licence,weights_may_learn\nchest.nii.gz,a collection,CC BY 4.0,yes\n"
    (tmp_path / "index.csv").write_text(index, encoding="utf-8")
    listed = open_bodies(str(ct))
    assert (listed.licence, listed.weights_may_learn) == ("CC BY 4.0", True)
    assert listed.obstacle(Study(findings={"Edema": Finding()})) is None
    assert "sex and age" in str(listed.obstacle(Study(sex="F")))  # the file does not say whose it is
    made = listed.make(Study(findings={"Edema": Finding()}), 1, SIZE, canonical=True)
    assert made.licence == "CC BY 4.0"
    assert "chest" not in str(made.facts)  # a file's name may be a person's
    assert {"right lung", "left lung", "edema_bilateral"} <= set(made.masks)
    with pytest.raises(BadInput, match="no such file"):
        open_bodies(str(tmp_path / "gone.nii"))
