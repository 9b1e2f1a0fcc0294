"""Alignment: a judge that sees everything scores 1, shuffled prompts score chance, and silence counts for nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from gen.core.manifest import Row
from gen.evaluate import alignment as module
from gen.evaluate.alignment import Side, alignment, with_studies
from gen.judge.readings import Readings
from gen.language.prompt import read_prompt
from gen.statistics.intervals import proportion

NAMES = ("Cardiomegaly", "Pleural Effusion", "Hernia")


def prompts(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        age, sex, view = generator.integers(1, 90), generator.choice(["male", "female"]), generator.choice(["PA", "AP"])
        said = ["Cardiomegaly." if generator.random() < 0.5 else "No cardiomegaly."]
        said.append(generator.choice(["Pleural effusion.", "No pleural effusion.", ""]))
        texts.append(f"{age} year old {sex}. {view} view. {' '.join(said)}")
    return texts


def rows_of(texts: Sequence[str]) -> list[Row]:
    return [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", prompt=text) for k, text in enumerate(texts)]


def readings(texts: Sequence[str], noise: float, seed: int = 0) -> Readings:
    """What a judge sees that knows the prompts, but for noise on every probability."""
    generator = np.random.default_rng(seed)
    studies = [read_prompt(text).study for text in texts]
    count = len(texts)

    def blurred(truth: Sequence[bool]) -> np.ndarray:
        clean = 0.1 + 0.8 * np.asarray(truth, np.float64)
        return np.asarray((clean + noise * generator.standard_normal(count)).clip(0, 1), np.float32)

    present = [[name in s.findings and s.findings[name].state == "present" for s in studies] for name in NAMES]
    return Readings(
        names=NAMES,
        findings=np.stack([blurred(truth) for truth in present], 1),
        embedding=np.ones((count, 2), np.float32),
        female=blurred([s.sex == "F" for s in studies]),
        ap=blurred([s.view == "AP" for s in studies]),
        child=blurred([s.is_child for s in studies]),
        age=np.array([s.age or 0 for s in studies], np.float32) + np.float32(5),
        qualities=(),
        quality=np.empty((count, 0), np.float32),
        artefact=np.full(count, np.nan, np.float32),
    )


def side(texts: Sequence[str], seen: Readings) -> Side:
    return Side(rows_of(texts), [f"u{k}" for k in range(len(texts))], seen)


def test_a_judge_that_sees_what_the_prompt_says_gives_full_marks() -> None:
    texts = prompts(120, 0)
    both = side(texts, readings(texts, 0))
    found = alignment(both, both, {})
    for name in NAMES[:2]:
        of = found.findings[name]
        assert of.auroc.synthetic.value == of.balanced_accuracy.synthetic.value == 1
        assert of.auroc.synthetic == of.auroc.real
        assert of.present + of.absent == of.auroc.synthetic.n
    assert found.mean_auroc.synthetic.value == found.sex.real.value == found.view.synthetic.value == 1
    assert found.child.synthetic.value == 1
    assert found.age_error.synthetic.value == pytest.approx(5)
    assert found.age_bias.synthetic.value == pytest.approx(5)
    assert "Hernia" not in found.findings  # of which no prompt speaks


def test_a_judge_that_says_the_same_of_all_images_is_at_chance_however_few_the_others_are() -> None:
    texts = prompts(400, 9)
    children = [k for k, text in enumerate(texts) if "year old" in text and int(text.split()[0]) < 18]
    texts = [text for k, text in enumerate(texts) if k not in children[20:]]
    seen = dataclasses.replace(readings(texts, 0), child=np.zeros(len(texts), np.float32))
    found = alignment(side(texts, seen), side(texts, seen), {})
    assert found.child.synthetic.value == 0.5
    assert found.sex.synthetic.value == 1


def test_full_marks_of_few_images_are_not_certain_and_no_share_exceeds_one() -> None:
    texts = prompts(60, 8)
    found = alignment(side(texts, readings(texts, 0)), side(texts, readings(texts, 0.35, 1)), {})
    of = found.findings["Cardiomegaly"]
    few = min(of.present, of.absent)
    for figure in (of.auroc.synthetic, of.balanced_accuracy.synthetic):
        assert (figure.value, figure.high) == (1, 1)
        assert figure.low == pytest.approx(proportion(few, few).low)
    for pair in (found.sex, found.view, found.child):
        assert pair.synthetic.low < 1 == pair.synthetic.high  # all are right
        assert pair.real.low < pair.real.value < pair.real.high <= 1


def test_alignment_falls_with_noise_and_shuffled_prompts_are_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 150)
    texts = prompts(200, 1)
    real = side(texts, readings(texts, 0))
    shuffled = [texts[k] for k in np.random.default_rng(2).permutation(len(texts))]
    ladder = [
        alignment(side(said, readings(texts, noise, 3)), real, {})
        for said, noise in ((texts, 0.1), (texts, 0.5), (texts, 1.5), (shuffled, 0.1))
    ]
    values = [found.mean_auroc.synthetic.value for found in ladder]
    assert values == sorted(values, reverse=True)
    chance = ladder[-1].mean_auroc.synthetic
    assert chance.low < 0.5 < chance.high
    assert ladder[-1].sex.synthetic.low < 0.5 < ladder[-1].sex.synthetic.high
    assert all(found.mean_auroc.real.value == 1 for found in ladder)


def test_the_figures_are_those_of_scikit_learn_over_what_was_said() -> None:
    texts = prompts(150, 4)
    seen = readings(texts, 0.6)
    found = alignment(side(texts, seen), side(texts, seen), {"Pleural Effusion": 0.7}).findings["Pleural Effusion"]
    said = np.array(["No pleural" not in text for text in texts])
    kept = np.array(["pleural" in text.lower() for text in texts])
    scores = seen.findings[kept, 1]
    assert found.auroc.synthetic.value == pytest.approx(roc_auc_score(said[kept], scores))
    assert found.balanced_accuracy.synthetic.value == pytest.approx(balanced_accuracy_score(said[kept], scores >= 0.7))
    assert found.auroc.synthetic.n == kept.sum()
    assert found.auroc.synthetic.low < found.auroc.synthetic.value < found.auroc.synthetic.high


def test_too_few_images_have_no_figure_and_unreadable_prompts_are_named() -> None:
    texts = prompts(60, 5)
    few = [text if k < 5 else "40 year old male." for k, text in enumerate(texts)]
    synthetic = side(few, readings(texts, 0))
    synthetic = dataclasses.replace(synthetic, rows=[*rows_of(few)[:-1], Row(file=Path("x.png"), file_name="x.png")])
    found = alignment(synthetic, side(texts, readings(texts, 0)), {})
    assert np.isnan(found.findings["Cardiomegaly"].auroc.synthetic.value)
    assert found.findings["Cardiomegaly"].auroc.real.value == 1
    assert np.isnan(found.mean_auroc.synthetic.value)
    assert found.unread == ("x.png",)


def test_a_judge_that_does_not_speak_of_sex_has_no_figure_for_it() -> None:
    texts = prompts(60, 6)
    seen = dataclasses.replace(readings(texts, 0), female=np.full(60, np.nan, np.float32))
    found = alignment(side(texts, seen), side(texts, seen), {})
    assert np.isnan(found.sex.synthetic.value)
    assert found.view.synthetic.value == 1


def test_what_the_columns_say_has_precedence_over_the_prompt() -> None:
    prompt = "40 year old male. Cardiomegaly."
    told = Row(file=Path("a.png"), file_name="a.png", prompt=prompt, findings=("Hernia",))
    silent = dataclasses.replace(told, findings=())
    rows, unread = with_studies([told, silent])
    assert rows[0] == told
    assert json.loads(rows[1].study) == read_prompt(prompt).study.to_json_dict()
    assert (rows[0].age, rows[1].age) == (None, 40)
    assert not unread
