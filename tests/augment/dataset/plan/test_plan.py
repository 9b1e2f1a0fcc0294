"""A plan's rows are its quotas, exactly, and functions of their numbers; what cannot be is refused in one line."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.dataset.config import DatasetConfig, Projections, Target
from augment.dataset.plan.plan import cost, plan_of, plan_table, plan_text
from augment.dataset.shards.records import DRR, MODEL
from gen.core.errors import BadInput
from gen.core.manifest import METADATA
from gen.language.prompt import read_prompt

CAPABILITIES = {
    "canonical_language": True,
    "findings": {
        "No Finding": 9,
        "Cardiomegaly": 9,
        "Pneumonia": 9,
        "Atelectasis": 9,
        "Pleural Effusion": 9,
        "Edema": 9,
    },
    "views": {"PA": 9, "AP": 9},
    "sexes": {"F": 9, "M": 9},
    "races": {},
    "age_range": [4, 86],
}
NEVER = Projections()


def never(cell):
    return "there is no projector here"


def always(cell):
    return None


def planned(images=100, capabilities=CAPABILITIES, projectable=never, seed=0, projections=NEVER, **target):
    config = DatasetConfig("out", images, Target(**target), projections=projections, seed=seed)
    return plan_of(config, capabilities, projectable)


def rows_of(plan):
    return [plan.row(number) for number in range(plan.rows)]


def real_set(folder: Path, images: list[dict[str, str]]) -> str:
    """A data set of these images; a plan looks at the table alone, so the files are empty."""
    columns = ("file_name", "sex", "age", "view", "race", "findings")
    lines = [",".join(columns)]
    for k, image in enumerate(images):
        (folder / f"{k}.png").touch()
        lines.append(",".join(({"file_name": f"{k}.png"} | image).get(column, "") for column in columns))
    (folder / METADATA).write_text("\n".join(lines) + "\n")
    return str(folder)


def subsets(values):
    return st.lists(st.sampled_from(values), unique=True, max_size=len(values))


targets = st.builds(
    Target,
    sex=subsets(("F", "M")),
    age=subsets(("4-17", "18-39", "60-60")),
    view=subsets(("PA", "AP")),
    finding=subsets(("No Finding", "Cardiomegaly", "Pneumonia")),
).filter(lambda target: any((target.sex, target.age, target.view, target.finding)))


@settings(max_examples=25)
@given(targets, st.integers(1, 150), st.integers(0, 3))
def test_the_rows_are_the_quotas_and_each_shows_its_cell(target, images, seed):
    plan = plan_of(DatasetConfig("out", images, target, seed=seed), CAPABILITIES, never)
    rows = rows_of(plan)
    quotas = {stratum.key: stratum.quota for stratum in plan.strata}
    assert Counter(row.cell for row in rows) == Counter(quotas)
    assert sum(quotas.values()) == images
    assert max(quotas.values()) - min(quotas.values()) <= 1
    for row in rows:
        values = dict(part.split("=") for part in row.cell.split("|"))
        study = row.study
        assert (study.sex, study.view, study.race) == (values.get("sex"), values.get("view"), None)
        assert list(study.findings) == ([values["finding"]] if "finding" in values else [])
        if "age" in values:
            low, high = map(int, values["age"].split("-"))
            assert low <= study.age <= high
        else:
            assert study.age is None
        assert read_prompt(row.prompt).study == study
        assert (row.source, row.substitute) == (MODEL, 0)


@settings(max_examples=15)
@given(targets, st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_order_of_the_values_in_the_config_changes_no_row(target, images, random):
    def shuffled(values):
        return random.sample(values, len(values))

    other = replace(target, **{n: shuffled(getattr(target, n)) for n in ("sex", "age", "view", "finding")})
    one, two = (plan_of(DatasetConfig("out", images, each), CAPABILITIES, never) for each in (target, other))
    assert one.digest == two.digest
    assert rows_of(one) == rows_of(two)


def test_ids_are_unique_over_rows_and_their_substitutes():
    plan = planned(600)
    rows = rows_of(plan)
    ids = [row.id for row in rows] + [plan.substitute(row, k).id for row in rows for k in (1, 2, 3)]
    assert len(set(ids)) == len(ids)


def test_a_plan_made_again_or_sent_to_another_process_has_the_same_rows():
    plan = planned(200, seed=7)
    again, sent = planned(200, seed=7), pickle.loads(pickle.dumps(plan))
    assert plan.digest == again.digest == sent.digest
    assert rows_of(plan) == rows_of(again) == rows_of(sent)


def test_another_seed_wording_or_number_of_images_is_another_plan():
    plans = [planned(96), planned(96, seed=1), planned(97), planned(96, None), planned(96, sex=["F"])]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert not {row.id for row in rows_of(plans[0])} & {row.id for row in rows_of(plans[1])}


def test_what_is_asked_of_the_images_alone_decides_the_digest():
    plan = planned()
    elsewhere = replace(plan.config, out="elsewhere", shard_size=7, formats=["dicom"])
    assert plan_of(elsewhere, CAPABILITIES, never).digest == plan.digest


@settings(max_examples=30)
@given(st.integers(100, 3000), st.integers(0, 5), st.data())
def test_any_stretch_of_rows_is_spread_over_the_cells_as_the_quotas_are(images, seed, data):
    plan = planned(images, seed=seed)
    start = data.draw(st.integers(0, images - 100))
    length = data.draw(st.integers(1, 100))
    counts = Counter(plan.row(number).cell for number in range(start, start + length))
    assert all(abs(counts[s.key] - length * s.quota / images) < 3 for s in plan.strata)


def test_the_ages_of_a_band_come_equally_often_and_few_of_them_are_spread_over_it():
    plan = planned(220, sex=["F"], age=["40-59"], view=[], finding=[])
    ages = Counter(row.study.age for row in rows_of(plan))
    assert set(ages) == set(range(40, 60))
    assert set(ages.values()) == {11}
    few = sorted(row.study.age for row in rows_of(planned(5, sex=["F"], age=["40-59"], view=[], finding=[])))
    assert max(b - a for a, b in itertools.pairwise([few[-1] - 20, *few])) <= 8


def test_a_substitute_is_another_study_of_the_same_cell():
    plan = planned(age=["40-59"])
    for row in rows_of(plan)[:20]:
        others = [plan.substitute(row, k) for k in range(1, 20)]
        assert len({row.study.age, *(other.study.age for other in others)}) == 20
        assert {(other.number, other.cell, other.source) for other in others} == {(row.number, row.cell, row.source)}
        assert [other.substitute for other in others] == list(range(1, 20))
        assert all(replace(other.study, age=row.study.age) == row.study for other in others)
        assert plan.substitute(others[3], 2) == plan.substitute(row, 2)
    ageless = planned(age=[])
    assert len({ageless.substitute(ageless.row(0), k).prompt for k in range(20)}) > 5


def test_the_wording_varies_only_for_a_model_that_learnt_the_language():
    narrow = {"sex": ["F"], "age": ["40-40"], "view": ["PA"], "finding": ["Pneumonia"]}
    assert len({row.prompt for row in rows_of(planned(200, **narrow))}) > 20
    assert {row.prompt for row in rows_of(planned(50, None, **narrow))} == {"40 year old female. PA view. Pneumonia."}


def test_a_million_rows_are_not_held():
    plan = planned(1_000_000)
    assert len(pickle.dumps(plan)) < 50_000
    assert plan.row(999_999).number == 999_999
    with pytest.raises(BadInput, match="row 1000000 is not in the plan"):
        plan.row(1_000_000)


# What the model was not shown


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"view": ["PA", "lateral"]}, "target.view 'lateral' cannot be made: the model was never shown the view"),
        ({"race": ["Asian"]}, "target.race 'Asian' cannot be made: the model was never shown the race of a patient"),
        ({"finding": ["Mass"]}, "target.finding 'Mass' cannot be made: .* the finding 'Mass'"),
        ({"age": ["80-90"]}, "target.age '80-90' cannot be made: the model was shown ages 4 to 86 only"),
    ],
)
def test_what_the_model_was_never_shown_is_refused_with_the_reason_and_what_to_do(target, told):
    with pytest.raises(BadInput, match=told) as raised:
        planned(**target)
    assert str(raised.value).endswith("leave the value out")
    assert ("projections.use='when_needed'" in str(raised.value)) == ("race" not in target)
    assert rows_of(planned(10, None, **target))  # a model that does not say may be asked


def test_what_the_model_lacks_is_projected_where_needed_and_nothing_else():
    plan = planned(99, projectable=always, projections=Projections("when_needed"), view=["PA", "lateral"])
    assert {(row.study.view, row.source) for row in rows_of(plan)} == {("PA", MODEL), ("lateral", DRR)}
    assert all(s.projected == (s.quota if s.values["view"] == "lateral" else 0) for s in plan.strata)


def test_what_neither_can_make_is_refused_with_both_reasons():
    with pytest.raises(BadInput, match=r"'Asian' cannot be made: .*never shown.* there is no projector here"):
        planned(race=["Asian"], projections=Projections("when_needed"))


@settings(max_examples=25)
@given(st.integers(20, 300), st.integers(1, 100))
def test_a_share_of_projections_is_exact_in_all_and_within_one_in_every_cell_that_both_can_make(images, percent):
    def upright(cell):
        return None if cell["view"] == "PA" else "no table to lie on"

    share = percent / 100
    plan = planned(images, projectable=upright, projections=Projections("share", share))
    rows = Counter((row.cell, row.source) for row in rows_of(plan))
    assert all(rows[s.key, DRR] == s.projected and rows[s.key, MODEL] == s.quota - s.projected for s in plan.strata)
    both = [s for s in plan.strata if s.values["view"] == "PA"]
    assert sum(s.projected for s in plan.strata) == round(share * sum(s.quota for s in both))
    assert all(abs(s.projected - share * s.quota) < 1.01 for s in both)
    assert any("no table to lie on" in warning for warning in plan.warnings)


def test_a_share_of_which_nothing_can_be_projected_is_refused():
    with pytest.raises(BadInput, match=r"nothing in the plan can be projected .*there is no projector here"):
        planned(projections=Projections("share", 0.5))


def test_projections_are_prompted_in_the_canonical_words():
    plan = planned(20, projectable=always, projections=Projections("share", 1.0))
    for row in rows_of(plan):
        assert row.prompt == read_prompt(row.prompt).prompt


# Real sets

IMAGES = [
    *[{"sex": "F", "age": "30", "view": "PA", "findings": "Pneumonia"}] * 3,
    *[{"sex": "F", "age": "45.6", "view": "AP", "findings": "Pneumonia;Edema;Pleural Effusion"}] * 2,
    *[{"sex": "M", "age": "59", "view": "AP", "findings": "Pleural Effusion"}] * 6,
    *[{"sex": "M", "age": "60", "view": "PA", "findings": "No Finding"}] * 9,
]
REAL = {"finding": ["No Finding", "Pneumonia", "Pleural Effusion"]}


def test_a_set_as_large_as_the_real_one_has_its_joint_table_and_its_combinations_of_findings(tmp_path):
    plan = planned(20, kind="matched", co_occurrence="real", real=real_set(tmp_path, IMAGES), **REAL)
    assert [s.quota for s in plan.strata] == [s.real for s in plan.strata]
    shown = Counter(frozenset(row.study.findings) for row in rows_of(plan))
    assert shown == Counter(frozenset(image["findings"].split(";")) for image in IMAGES)


def test_an_image_of_two_findings_of_the_plan_counts_once_for_the_rarer(tmp_path):
    plan = planned(20, kind="matched", real=real_set(tmp_path, IMAGES), **REAL)
    counted = Counter()
    for stratum in plan.strata:
        counted[stratum.values["finding"]] += stratum.real
    assert counted == {"No Finding": 9, "Pneumonia": 5, "Pleural Effusion": 6}


def test_a_topped_up_set_is_balanced_together_with_the_real_one(tmp_path):
    target = REAL | {"age": [], "view": []}
    plan = planned(40, kind="top_up", real=real_set(tmp_path, IMAGES), **target)
    assert {s.real + s.quota for s in plan.strata} == {10}
    plan = planned(3, kind="top_up", real=plan.config.target.real, **target)
    assert all(s.quota == 0 or s.real + s.quota <= 1 for s in plan.strata)


def test_images_that_do_not_count_are_told(tmp_path):
    others = [
        {"age": "30", "view": "PA", "findings": "Pneumonia"},
        {"sex": "F", "view": "PA", "findings": "Pneumonia"},
        {"sex": "F", "age": "99", "view": "PA", "findings": "Pneumonia"},
        {"sex": "F", "age": "30", "view": "PA"},
        {"sex": "F", "age": "30", "view": "PA", "findings": "Mass"},
    ]
    plan = planned(kind="matched", real=real_set(tmp_path, IMAGES + others), **REAL)
    note = plan.warnings[0]
    assert "20 of 25 images count" in note
    for part in (
        "1 of unknown sex",
        "1 of unknown age",
        "1 of unknown finding",
        "1 of another age",
        "1 of another find",
    ):
        assert part in note
    with pytest.raises(BadInput, match="0 of 25 images count"):
        planned(kind="matched", real=plan.config.target.real, race=["Black"])


def test_the_further_findings_of_a_cell_keep_their_real_shares(tmp_path):
    plan = planned(200, co_occurrence="real", real=real_set(tmp_path, IMAGES), finding=["Pneumonia"])
    shown = Counter(frozenset(row.study.findings) for row in rows_of(plan))
    assert shown == {frozenset(["Pneumonia"]): 120, frozenset(["Pneumonia", "Edema", "Pleural Effusion"]): 80}


def test_a_further_finding_that_the_model_was_never_shown_is_refused(tmp_path):
    images = [{**image, "findings": image["findings"].replace("Edema", "Mass")} for image in IMAGES]
    with pytest.raises(BadInput, match="finding 'Mass' beside 'Pneumonia' cannot be made"):
        planned(co_occurrence="real", real=real_set(tmp_path, images), **REAL)


def test_a_finding_that_no_image_counts_for_has_no_real_neighbours(tmp_path):
    with pytest.raises(BadInput, match="no image counts for 'Cardiomegaly'"):
        planned(co_occurrence="real", real=real_set(tmp_path, IMAGES), finding=["Pneumonia", "Cardiomegaly"])


def test_stated_shares_are_exact_and_spread_over_the_cells():
    together = {"Pneumonia": {"": 0.7, "Pleural Effusion; Edema": 0.2, "Edema": 0.1}}
    plan = planned(240, finding=["No Finding", "Pneumonia"], co_occurrence="stated", together=together)
    rows = [row for row in rows_of(plan) if "Pneumonia" in row.study.findings]
    shown = Counter(tuple(row.study.findings) for row in rows)
    assert shown == {
        ("Pneumonia",): 84,
        ("Edema", "Pneumonia", "Pleural Effusion"): 24,
        ("Edema", "Pneumonia"): 12,
    }
    alone = Counter(row.cell for row in rows if len(row.study.findings) == 1)
    assert len(alone) == 12
    assert max(alone.values()) - min(alone.values()) <= 1


# Margins


def test_margins_are_met_and_the_rest_is_even():
    margins = {"sex": {"F": 0.25, "M": 0.75}, "view": {"PA": 0.9, "AP": 0.1}}
    plan = planned(400, kind="margins", margins=margins, age=["18-39", "40-59"], finding=["Pneumonia", "Edema"])
    quotas = {(s.values["sex"], s.values["view"]): Counter() for s in plan.strata}
    for stratum in plan.strata:
        quotas[stratum.values["sex"], stratum.values["view"]][stratum.quota] += 1
    totals = {key: sum(q * n for q, n in counts.items()) for key, counts in quotas.items()}
    assert totals == {("F", "PA"): 90, ("F", "AP"): 10, ("M", "PA"): 270, ("M", "AP"): 30}
    assert all(max(counts) - min(counts) <= 1 for counts in quotas.values())


def test_margins_move_the_real_joint_table(tmp_path):
    real = real_set(tmp_path, IMAGES)
    margins = {"view": {"PA": 0.5, "AP": 0.5}}
    plan = planned(80, kind="margins", margins=margins, real=real, **REAL)
    quotas = {s.key: s.quota for s in plan.strata if s.quota}
    assert quotas == {
        "sex=F|age=18-39|view=PA|finding=Pneumonia": 10,
        "sex=M|age=60-79|view=PA|finding=No Finding": 30,
        "sex=F|age=40-59|view=AP|finding=Pneumonia": 10,
        "sex=M|age=40-59|view=AP|finding=Pleural Effusion": 30,
    }


def test_cells_that_cannot_be_made_stay_empty_where_the_margins_allow_it():
    def men_only(cell):
        return None if cell["sex"] == "M" else "the phantom is a man"

    margins = {"sex": {"F": 0.5, "M": 0.5}, "view": {"PA": 0.6, "lateral": 0.4}}
    target = {"view": ["PA", "lateral"], "age": [], "finding": [], "kind": "margins"}
    where = {"projectable": men_only, "projections": Projections("when_needed")}
    plan = planned(100, margins=margins, **where, **target)
    assert [s.quota for s in plan.strata] == [10, 40, 50, 0]
    assert [s.projected for s in plan.strata] == [0, 40, 0, 0]
    margins = {"sex": {"F": 0.7, "M": 0.3}, "view": {"PA": 0.6, "lateral": 0.4}}
    with pytest.raises(BadInput, match=r"target.margins\.\w+: a share of .* cannot be had .*1 cells that cannot be"):
        planned(100, margins=margins, **where, **target)
    with pytest.raises(BadInput, match=r"target.view 'lateral' cannot be made"):
        planned(100, margins=margins, **target)


WRONG = [
    ({"images": 0}, "images is 0"),
    ({"sex": [], "age": [], "view": [], "finding": []}, "nothing to plan"),
    ({"sex": ["F", "F"]}, "target.sex has 'F' twice"),
    ({"sex": ["female"]}, "target.sex: unknown sex 'female'"),
    ({"view": ["Lateral"]}, "target.view: unknown view 'Lateral'.*did you mean 'lateral'"),
    ({"race": ["Blak"]}, "target.race: unknown race 'Blak'.*did you mean 'Black'"),
    ({"finding": ["Pneumona"]}, "target.finding: unknown finding 'Pneumona'.*did you mean 'Pneumonia'"),
    ({"finding": ["Effusion"]}, "unknown finding 'Effusion'.*write 'Pleural Effusion'"),
    ({"age": ["no-such"]}, "target.age 'no-such' is no band"),
    ({"age": ["59-40"]}, "target.age '59-40' is no band"),
    ({"age": ["100-130"]}, "target.age '100-130' is no band .*120"),
    ({"age": ["40-60", "60-79"]}, "40-60 and 60-79 overlap"),
    ({"kind": "balance"}, "unknown target.kind 'balance'.*did you mean 'balanced'"),
    ({"kind": "topped up"}, "unknown target.kind 'topped up'.*write 'top_up'"),
    ({"projections": Projections("where needed")}, "unknown projections.use 'where needed'.*write 'when_needed'"),
    ({"co_occurrence": "Real"}, "unknown target.co_occurrence 'Real'.*did you mean 'real'"),
    ({"projections": Projections("allways")}, "unknown projections.use 'allways'"),
    ({"projections": Projections("share", 1.5)}, "projections.share is 1.5"),
    ({"projections": Projections("never", 0.5)}, "projections.share is 0.5 and projections.use is 'never'"),
    ({"kind": "matched"}, "target.kind 'matched' needs a real data set"),
    ({"co_occurrence": "real"}, "co_occurrence 'real' needs a real data set"),
    ({"kind": "matched", "real": "no/such/folder"}, "no/such/folder"),
    ({"kind": "margins"}, "target.margins has no shares"),
    ({"margins": {"sex": {"F": 0.5, "M": 0.5}}}, "target.kind is 'balanced' and target.margins has shares"),
    ({"kind": "margins", "margins": {"sex": {"F": 0.5, "M": 0.6}}}, "target.margins.sex: the shares sum to 1.1"),
    ({"kind": "margins", "margins": {"sex": {"F": 1.5, "M": -0.5}}}, "the share of 'M' is -0.5"),
    ({"kind": "margins", "margins": {"sex": {"F": float("nan"), "M": 1}}}, "the share of 'F' is nan"),
    ({"kind": "margins", "margins": {"sex": {"F": 1.0}}}, "target.margins.sex has no share for 'M'"),
    ({"kind": "margins", "margins": {"sex": {"F": 1.0, "m": 0.0}}}, "unknown value in target.margins.sex 'm'"),
    ({"kind": "margins", "margins": {"sax": {"F": 1.0}}}, "unknown attribute in target.margins 'sax'.* sex, age"),
    ({"co_occurrence": "stated"}, "target.together has no shares"),
    ({"together": {"Pneumonia": {"": 1.0}}}, "co_occurrence is 'alone' and target.together has shares"),
    ({"co_occurrence": "stated", "finding": [], "together": {"Edema": {"": 1.0}}}, "target.finding is empty"),
    ({"co_occurrence": "stated", "together": {"Edema": {"": 1.0}}}, "unknown finding in target.together 'Edema'"),
    ({"co_occurrence": "stated", "together": {"Pneumonia": {"": 0.9}}}, "together.Pneumonia: the shares sum to 0.9"),
    ({"co_occurrence": "stated", "together": {"Pneumonia": {"Oedem": 1.0}}}, "together.Pneumonia: unknown finding"),
    ({"co_occurrence": "stated", "together": {"Pneumonia": {"Pneumonia": 1.0}}}, "names a finding twice"),
    ({"co_occurrence": "stated", "together": {"Pneumonia": {"No Finding": 1.0}}}, "'No Finding' stands alone"),
    ({"co_occurrence": "stated", "together": {"No Finding": {"Edema": 1.0}}}, "'No Finding' stands alone"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=[told[:40] for _, told in WRONG])
def test_a_wrong_plan_is_refused_in_one_line(changes, told):
    with pytest.raises(BadInput, match=told) as raised:
        planned(**changes)
    assert "\n" not in str(raised.value)


def test_fewer_images_than_cells_are_allowed_and_told():
    plan = planned(20)
    assert sum(stratum.quota for stratum in plan.strata) == 20
    assert "28 of 48 cells get no image" in plan.warnings


# What is shown of it


def test_the_table_has_every_stratum_and_is_json():
    plan = planned(100, projectable=always, projections=Projections("share", 0.2))
    table = json.loads(json.dumps(plan_table(plan)))
    assert len(table) == 48
    assert sum(row["quota"] for row in table) == 100
    assert sum(row["projected"] for row in table) == 20


def test_the_text_has_the_sums_by_value():
    together = {"Pneumonia": {"": 0.5, "Edema": 0.5}}
    plan = planned(4800, finding=["No Finding", "Pneumonia"], co_occurrence="stated", together=together)
    lines = [line.split() for line in plan_text(plan).splitlines()]
    assert ["sex", "F", "2,400", "0"] in lines
    assert ["age", "40-59", "1,600", "0"] in lines
    assert ["all", "4,800", "0"] in lines
    assert ["Edema", "1,200"] in lines
    assert ["Pneumonia", "2,400"] in lines
    assert ["No", "Finding", "2,400"] in lines


def test_the_cost_is_by_the_image():
    assert cost(planned(50), 2.0, 1000) == {"images": 50, "seconds": 100.0, "bytes": 50_000}


def test_quotas_stay_whole_numbers_in_the_plan():
    assert not any(isinstance(s.quota, np.generic) or isinstance(s.projected, np.generic) for s in planned().strata)
