"""Rows that the model paints on projections: the truth of the body, whatever the company, marked in every record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from augment.dataset.config import DatasetConfig, Projections, Target
from augment.dataset.job import make_dataset
from augment.dataset.painted import twins_of
from augment.dataset.prepare import plan_job
from augment.dataset.shards.folder import entries
from augment.dataset.shards.records import ANATOMY, PlanRow
from augment.dataset.sources import Picture, open_source, weights_may_learn
from gen.anatomy.network import ORGANS
from gen.core.errors import BadInput, GenError
from gen.core.radiograph import Radiograph
from gen.language.render import render
from gen.language.study import Finding, Study
from gen.model.sampling.anatomy import Body, OfBody
from tests.augment.dataset.toy_job import toy_job

TWINS = ["soft", "bone", "organs", "inserted"]


def painted(out: Path, model: Path, **changes: Any) -> DatasetConfig:
    target = Target(sex=["F"], age=["40-59"], view=["lateral", "PA"], finding=["Pleural Effusion", "Nodule"])
    projections = Projections("share", share=1.0, strength=0.5)
    wanted = {"target": target, "projections": projections, "steps": 4, "images": 4, "twins": TWINS}
    return toy_job(out, model, **wanted | changes)


def row(number: int, finding: str, **facts: Any) -> PlanRow:
    study = Study(age=50, sex="F", view="PA", findings={finding: Finding(**facts)})
    return PlanRow(number, "", study, render(study), ANATOMY, 0, f"{number:016x}")


ROWS = [row(0, "Pleural Effusion", side="right"), row(1, "Pneumonia"), row(2, "Mass", side="left")]


def test_a_row_has_the_truth_of_its_body_in_any_company_and_one_without_a_body_stops_no_other(
    toy_model: Path, tmp_path: Path
) -> None:
    sources = open_source(painted(tmp_path, toy_model))
    made = list(sources.make(ROWS, [1, 2, 3]))
    assert isinstance(made[1], GenError)
    assert "Pneumonia cannot be put into a CT" in str(made[1])
    [alone] = sources.make(ROWS[2:], [3])
    for picture, again in ((made[2], alone),):
        assert isinstance(picture, Picture)
        assert isinstance(again, Picture)
        assert picture.image.pixels.tobytes() == again.image.pixels.tobytes()
        assert {name: twin.pixels.tobytes() for name, twin in picture.twins.items()} == {
            name: twin.pixels.tobytes() for name, twin in again.twins.items()
        }
    for picture, side in ((made[0], "right lung"), (made[2], "left lung")):
        assert isinstance(picture, Picture)
        image, twins = picture.image.pixels, {name: twin.pixels for name, twin in picture.twins.items()}
        assert np.array_equal(np.clip(image - twins["soft"], 0, 1), twins["bone"])
        lung = np.argwhere(np.rint(twins["organs"] * 255) == ORGANS.index(side) + 1)
        lesion = np.argwhere(np.rint(twins["inserted"] * 255) == 1)
        assert (lesion[:, 1].mean() < image.shape[1] / 2) == (lung[:, 1].mean() < image.shape[1] / 2)
        study = Study.from_json_dict(json.loads(picture.image.provenance["study"]))
        assert (study.sex, study.age) == ("F", 50)
        assert picture.image.provenance["anatomy"].startswith("from physics")


def of_body(masks: Mapping[str, np.ndarray]) -> OfBody:
    """A black image of a body that has ``masks``."""
    image = Radiograph(np.zeros(next(iter(masks.values())).shape, np.float32), None, {"synthetic": "yes"})
    nothing = np.zeros(image.pixels.shape, bool)
    body = Body(image, image.pixels, masks, nothing, Study(), "phantom-0", "CC0", True, {})
    return OfBody(body, image, image, masks)


@given(masks=st.integers(1, 8).flatmap(lambda n: arrays(bool, (n, 4, 5))))
def test_what_was_put_in_is_read_back_whole_where_it_overlaps_in_the_eight_bits_of_a_file(masks: np.ndarray) -> None:
    made = of_body({f"mass-{k}": mask for k, mask in enumerate(masks)} | {"heart": masks[0]})
    levels = np.rint(twins_of(made)["inserted"].pixels * 255).astype(np.uint8)
    for k, mask in enumerate(masks):
        np.testing.assert_array_equal(levels >> k & 1, mask)


def test_more_than_the_twin_has_bits_for_is_no_picture() -> None:
    with pytest.raises(GenError, match="9 structures were put in, and the twin 'inserted' holds 8"):
        twins_of(of_body({f"mass-{k}": np.ones((4, 4), bool) for k in range(9)}))


def test_a_set_of_what_the_model_was_never_shown_is_made_and_marked(toy_model: Path, tmp_path: Path) -> None:
    config = painted(tmp_path / "set", toy_model)
    plan = plan_job(config)
    assert {plan.row(n).source for n in range(plan.rows)} == {ANATOMY}
    make_dataset(config)
    records = [record for entry in entries(tmp_path / "set") for record in entry.records]
    assert len(records) == 4
    for record in records:
        assert record["source"] == ANATOMY
        assert {"body_parameters", "inserted", "bodies", "strength", "model_hash"} <= set(record["provenance"])
        assert record["planned"] is not None  # more was drawn than was planned
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    assert "4 of the images are not left as they were projected" in card
    assert "of 4 bodies" in card


def test_what_cannot_be_painted_is_refused_before_any_work(toy_model: Path, tmp_path: Path) -> None:
    config = painted(tmp_path / "set", toy_model)
    for strength, message in ((1.5, r"projections\.strength is 1\.5"), (0.1, "of 4 steps is none")):
        with pytest.raises(BadInput, match=message):
            plan_job(replace(config, projections=replace(config.projections, strength=strength)))
    plain = replace(config, projections=replace(config.projections, strength=0.0))
    with pytest.raises(BadInput, match="inserted"):
        open_source(plain)


def test_weights_may_learn_only_where_both_model_and_cts_allow_it(toy_model: Path, tmp_path: Path) -> None:
    config = painted(tmp_path / "set", toy_model)
    assert weights_may_learn(config)[ANATOMY] is False  # the toy does not say that they may
