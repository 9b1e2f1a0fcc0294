"""Who may be learnt from, who stands where, and in what order: functions of the rows and a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import SPLITS, Manifest, Row, split_of
from gen.data.split import Order, balance, data_digest, order_of, patient_of, split_rows

PATIENTS = st.lists(st.integers(0, 8).map(str), min_size=1, max_size=40)


def row(patient: str, *, learn: bool = True, split: str | None = None, name: str = "") -> Row:
    return Row(file=Path("/data") / name, file_name=name, patient_id=patient, weights_may_learn=learn, split=split)


def manifest(*rows: Row) -> Manifest:
    return Manifest(Path("/data"), rows)


def everyone(learn: bool = True) -> list[Row]:
    return [row(f"patient {i // 3}", learn=learn, name=f"{i}.png") for i in range(300)]


def test_splits_are_by_patient_and_by_the_bands_of_the_hash() -> None:
    splits = split_rows(manifest(*everyone()))
    assert tuple(splits) == SPLITS
    for name, rows in splits.items():
        assert {split_of(row.patient_id) for row in rows} == {name}
    assert sum(map(len, splits.values())) == 300
    assert len(splits["train"]) > 200


def test_rows_that_must_not_be_learnt_from_are_in_no_split() -> None:
    forbidden = [row(f"other {i}", learn=False) for i in range(50)]
    splits = split_rows(manifest(*everyone(), *forbidden))
    assert all(row.weights_may_learn for rows in splits.values() for row in rows)
    assert sum(map(len, splits.values())) == 300


def test_the_folders_of_the_manifest_decide_where_it_has_them() -> None:
    rows = [row(f"p{i}", split=SPLITS[i % 3]) for i in range(30)]
    splits = split_rows(manifest(*rows))
    assert {name: [row.split for row in rows] for name, rows in splits.items()} == {
        name: [name] * 10 for name in SPLITS
    }


def test_a_patient_in_two_folders_is_refused() -> None:
    with pytest.raises(BadInput, match="patient 'p' stands in train and in test"):
        split_rows(manifest(row("p", split="train"), row("p", split="test")))


def test_a_film_without_a_patient_is_a_patient_of_its_own() -> None:
    rows = [row("", name=f"{i}.png") for i in range(100)]
    assert len({patient_of(row) for row in rows}) == 100
    assert all(split_rows(manifest(*rows))[name] for name in SPLITS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no row to learn from; training takes rows with weights_may_learn = yes"),
        (everyone(learn=False), "has no row to learn from"),
        ([row("p", split="validation")], "has no row to learn from"),
        ([row("p", split="train")], "has no row to validate on"),
    ],
)
def test_nothing_to_learn_from_or_to_validate_on_is_an_error(rows: list[Row], message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        split_rows(manifest(*rows))
    assert message in str(refusal.value)
    assert "/data" in str(refusal.value)


@given(PATIENTS, st.integers(0, 2**63), st.integers(0, 5))
def test_each_epoch_shows_each_patient_as_often_as_the_cap_allows_and_no_film_twice(
    patients: list[str], seed: int, cap: int
) -> None:
    order = Order(tuple(patients), seed, cap)
    images = Counter(patients)
    for epoch in range(3):
        shown = [order.index(epoch * order.epoch_length + i) for i in range(order.epoch_length)]
        assert len(set(shown)) == len(shown)
        expected = {patient: min(count, cap or count) for patient, count in images.items()}
        assert Counter(patients[image] for image in shown) == expected


@given(PATIENTS, st.integers(0, 2**63), st.integers(0, 5), st.integers(0, 1000))
def test_a_position_is_the_same_whoever_asks_and_whenever(
    patients: list[str], seed: int, cap: int, position: int
) -> None:
    through = order_of([row(patient) for patient in patients], seed, cap)
    walked = [through.index(i) for i in range(min(position, 60) + 1)][-1]
    assert Order(tuple(patients), seed, cap).index(min(position, 60)) == walked
    assert 0 <= Order(tuple(patients), seed, cap).index(position) < len(patients)


def test_epochs_and_seeds_differ_and_a_capped_patient_shows_other_films_in_time() -> None:
    patients = ("many",) * 20 + tuple(f"p{i}" for i in range(20))
    orders = [[Order(patients, seed, 4).index(i) for i in range(24 * 10)] for seed in (0, 1)]
    assert orders[0] != orders[1]
    epochs = [orders[0][i : i + 24] for i in range(0, 240, 24)]
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert len({image for epoch in epochs for image in epoch if image < 20}) > 15


def test_a_name_that_two_splits_share_is_two_patients_where_no_patient_is_given() -> None:
    rows = [row("", split=split, name="1.png") for split in SPLITS]
    assert all(len(rows) == 1 for rows in split_rows(manifest(*rows)).values())
    assert patient_of(row("", name="1.png")) == "file:1.png", "the band of an image without a split never moves"


def test_the_digest_of_the_data_changes_with_image_label_and_split_and_not_with_the_place(tmp_path: Path) -> None:
    def at(folder: str, **fields: object) -> Row:
        known = {"file_name": "1.png", "sha256": "ab", "findings": ("Edema",)}
        return Row(file=tmp_path / folder / "1.png", **(known | fields))

    digest = data_digest({"train": [at("a")], "validation": []})
    assert data_digest({"train": [at("b", source="elsewhere")], "validation": []}) == digest
    others = [{"train": [], "validation": [at("a")]}, {"train": [at("a", sha256="ac")]}, {"train": [at("a", age=3.0)]}]
    assert digest not in [data_digest(other) for other in others]
    (tmp_path / "c").mkdir()
    without = at("c", sha256="")
    without.file.write_bytes(b"1")
    first = data_digest({"train": [without]})
    without.file.write_bytes(b"12")
    assert data_digest({"train": [without]}) != first


@given(
    st.lists(st.tuples(st.integers(0, 8).map(str), st.floats(0.3, 3)), min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_weights_change_how_often_an_image_is_seen_and_not_how_long_an_epoch_is(
    images: list[tuple[str, float]], cap: int, seed: int
) -> None:
    patients, weights = zip(*images, strict=True)
    plain, weighted = Order(patients, seed, cap), Order(patients, seed, cap, weights)
    length = plain.epoch_length
    assert weighted.epoch_length == length
    seen = Counter(weighted.index(position) for position in range(length))
    if cap == 0:  # every image is in the draw: systematic resampling is within one of what is expected
        total = sum(weights)
        for image, weight in enumerate(weights):
            assert abs(seen[image] - length * weight / total) <= 1 + 1e-9
    again = Order(patients, seed, cap, weights)
    assert [again.index(position) for position in reversed(range(length))] == [
        weighted.index(position) for position in reversed(range(length))
    ]


def test_balance_lifts_what_is_rare_within_its_bounds() -> None:
    def image(sex: str, view: str, *findings: str) -> Row:
        return Row(file=Path("/a"), sex=sex, view=view, findings=findings)

    rows = [image("M", "PA", "No Finding")] * 90 + [image("F", "PA", "No Finding")] * 9 + [image("", "", "Hernia")]
    common, female, hernia = (balance(rows)[i] for i in (0, 95, 99))
    assert 1 / 3 <= common < female <= 3
    assert hernia == 3.0
    # Where all is equally common, or nothing is known, nothing is lifted.
    assert balance([image("M", "PA"), image("F", "AP")]) == [1.0, 1.0]
    assert balance([image("", "")] * 3) == [1.0] * 3
