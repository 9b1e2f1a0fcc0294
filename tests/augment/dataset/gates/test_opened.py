"""Gates that are opened: which judge, which real images, which index, and what cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.dataset.config import Gates
from augment.dataset.gates.gate_set import (
    GateSet,
    _images_with,
    check_gates,
    open_gate_set,
    warnings_of_gates,
)
from augment.dataset.gates.scores import TABLES, unlearnt
from gen.core.bundled import bundled_model
from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.judge.framings import AS_IT_IS, FRAMINGS, PREPARED, VARIED
from gen.judge.judge import load_judge
from gen.judge.network import QUALITIES
from gen.judge.reference import REFERENCE, Reference, index_of, write_reference
from tests.anatomy.drawn import Drawn, DrawnAnatomy
from tests.augment.dataset.gates.toy_gates import PATIENTS, PixelJudge, Truth


def test_images_that_the_judge_learnt_from_are_left_out(real: Truth) -> None:
    known = real.rows[:40]  # 40 patients, who have one more image each
    generator = np.random.default_rng(0)
    index = index_of(generator.random((40, 56)), known, generator.random((9, 56)), PixelJudge.fingerprint)
    left = unlearnt(PixelJudge(reference=index), real.rows)
    assert {row.patient_id for row in left} == {f"patient {k}" for k in range(40, PATIENTS)}
    renamed = [replace(row, patient_id=f"other {row.patient_id}") for row in real.rows]
    assert len(unlearnt(PixelJudge(reference=index), renamed)) == len(real.rows) - 40  # the image itself is known, too
    assert unlearnt(PixelJudge(), real.rows) == real.rows


def test_the_bundled_judge_brings_its_own_images(bundled: GateSet) -> None:
    judge = load_judge(device="cpu")
    assert [path.stem for path in TABLES.glob("*.csv")] == [judge.fingerprint]
    assert judge.reference is not None
    # Copies are looked for in images as the model paints them, so what is as it is has no distance.
    framed = {framing: _images_with(judge, framing)[0] for framing in FRAMINGS}
    near = {
        framing: [each.scores["copy"] for each in some if "copy" in each.scores] for framing, some in framed.items()
    }
    assert near[AS_IT_IS] == []
    for framing in (PREPARED, VARIED):
        np.testing.assert_allclose(sorted(near[framing]), judge.reference.held_out, atol=1e-3)
    known = {kind.partition(": ")[2] for kind in (*bundled.limits, *bundled.without) if kind.startswith("finding: ")}
    assert set(judge.findings) <= known
    numbers = [int(image.patient) for some in framed.values() for image in some]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    told = (TABLES / "README.md").read_text()
    assert told.count(f"{len(framed[AS_IT_IS])} real chest images of {max(numbers)} patients") == 1
    assert told.count(f"the {len(framed[VARIED])} that") == 1


def test_distances_to_the_index_of_another_generator_are_not_taken_over(indexed: Reference) -> None:
    judge = load_judge(device="cpu")
    own, other = judge, replace(judge, reference=indexed)
    kinds = [{kind for image in _images_with(each, VARIED)[0] for kind in image.scores} for each in (own, other)]
    assert kinds[0] - kinds[1] == {"copy"}


def test_copies_are_looked_for_in_the_index_of_the_model_where_it_has_one(indexed: Reference, tmp_path: Path) -> None:
    judge = load_judge(device="cpu")
    width = judge.network.shape.embedding
    generator = np.random.default_rng(2)
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"known {k}") for k in range(40)]
    own = index_of(generator.random((40, width)) - 0.5, rows, generator.random((300, width)) - 0.5, judge.fingerprint)
    models = {"own": own, "another": indexed, "none": None}
    for name, reference in models.items():
        (tmp_path / name).mkdir()
        if reference is not None:
            write_reference(tmp_path / name / REFERENCE, reference)
    gates = Gates(names=["copy"])
    found = {name: open_gate_set(gates, str(tmp_path / name), device="cpu") for name in models}
    # Each was opened with a judge: the type checker does not know it.
    sizes = {name: len(each.judge.reference.codes) for name, each in found.items()}  # type: ignore[union-attr]
    assert judge.reference is not None
    assert sizes == {"own": 40, "another": len(judge.reference.codes), "none": len(judge.reference.codes)}
    told = {name: warnings_of_gates(gates, str(tmp_path / name)) for name in models}
    assert told["own"] == []
    assert all("gen train reference" in told[name][0] for name in ("another", "none"))
    assert warnings_of_gates(gates, None) == warnings_of_gates(gates, str(bundled_model())) == []
    assert warnings_of_gates(Gates(names=["copy"], judge="mine"), str(tmp_path / "none")) == []
    assert warnings_of_gates(Gates(names=["sex"]), str(tmp_path / "none")) == []


def test_real_images_of_the_users_are_judged_at_the_start(real: Truth, bundled: GateSet, tmp_path: Path) -> None:
    found = open_gate_set(Gates(names=["quality", "sex"], real=str(real.folder), least_images=30), device="cpu")
    assert found is not None
    assert len(found.images) == 2 * PATIENTS
    assert found.source == f"{2 * PATIENTS} images of {real.folder.name}"  # a card is published: no path
    assert found.fingerprint != bundled.fingerprint
    assert set(found.limits) == {"sex: F", "sex: M", *(f"quality: {name}" for name in QUALITIES)}


def test_images_of_the_users_are_judged_once_where_a_table_is_kept(
    real: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = Gates(names=["quality", "sex"], real=str(real.folder), least_images=30)
    first = open_gate_set(gates, device="cpu", table=tmp_path / "gates.csv")
    monkeypatch.setattr("augment.dataset.gates.gate_set.measure", lambda *those: pytest.fail("they were judged again"))
    again = open_gate_set(gates, device="cpu", table=tmp_path / "gates.csv")
    assert first is not None
    assert again is not None
    assert (first.limits, first.fingerprint, first.source) == (again.limits, again.fingerprint, again.source)


def test_without_names_there_is_no_panel() -> None:
    assert open_gate_set(Gates(names=[])) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"names": ["qualty"]}, r"unknown gates\.names 'qualty'; did you mean 'quality'"),
        ({"pass_rate": 1.0}, r"gates\.pass_rate is 1"),
        ({"pass_rate": math.nan}, r"gates\.pass_rate"),
        ({"copy_false_alarms": 0.0}, r"gates\.copy_false_alarms"),
        ({"least_images": 0}, r"gates\.least_images is 0; it is 1 or more"),
        ({"attempts": 0}, r"gates\.attempts"),
        ({"substitutes": -1}, r"gates\.substitutes"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_gates(replace(Gates(), **wrong))


def test_a_judge_that_says_little_is_told_what_to_leave_out(tmp_path: Path, real: Truth) -> None:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    labels = dict(enumerate(["Pneumonia", "Effusion"]))
    config = ResNetConfig(
        num_channels=1,
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=labels,
        label2id={name: k for k, name in labels.items()},
        problem_type="multi_label_classification",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ResNetForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(
        BadInput, match=r"nothing to say of sex, age, view, quality, copy.*reference index.*leave that out"
    ):
        open_gate_set(Gates(judge=str(tmp_path)), device="cpu")
    with pytest.raises(BadInput, match=r"no measurements of real images.*gates\.real"):
        open_gate_set(Gates(names=["finding"], judge=str(tmp_path)), device="cpu")
    gate_set = open_gate_set(Gates(names=["finding"], judge=str(tmp_path), real=str(real.folder)), device="cpu")
    assert gate_set is not None
    assert set(gate_set.limits) == {"finding: Pneumonia", "finding: no Pneumonia"}
    assert gate_set.without["finding: Pleural Effusion"] == "there is no real image of it"
    assert gate_set.without["finding: Cardiomegaly"] == "the judge does not know it"


def test_another_network_does_not_go_with_the_table_of_this_one() -> None:
    judge = load_judge(device="cpu")
    with pytest.raises(BadInput, match=r"anatomy network drawn .*gates\.real"):
        _images_with(judge, VARIED, DrawnAnatomy(Drawn()))  # type: ignore[arg-type]  # a stand-in
