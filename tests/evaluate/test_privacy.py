"""Privacy: the stated rate of false alarms is kept, intervals cover, and what is a copy raises the alarm."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.evaluate import copies
from gen.evaluate import privacy as module
from gen.evaluate.copies import Nearest, planted
from gen.evaluate.extractors import extractor_of
from gen.evaluate.images import ImageSet, digests
from gen.evaluate.privacy import PIXELS, authentic, privacy, privacy_by_index, rare_words, words_of
from gen.judge.reference import copy_threshold, index_of
from gen.statistics.intervals import share


def chests(count: int, seed: int) -> np.ndarray:
    fields = np.random.default_rng(seed).standard_normal((count, 128, 128))
    smooth = gaussian_filter(fields, (0, 3, 3)) + 2 * gaussian_filter(fields, (0, 10, 10))
    return np.rint((smooth / smooth.std() * 40 + 128).clip(0, 255)).astype(np.uint8)


def image_set(pixels_u8: np.ndarray, patients: list[str]) -> ImageSet:
    rows = tuple(
        Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=patient) for k, patient in enumerate(patients)
    )
    return ImageSet(Path("folder"), rows, pixels_u8, digests(pixels_u8))


@pytest.mark.parametrize(("count", "rate"), [(50, 0.1), (250, 0.01), (20, 0.3)])
def test_a_new_image_of_an_unseen_patient_raises_a_false_alarm_as_often_as_stated(count: int, rate: float) -> None:
    generator = np.random.default_rng(0)
    draws = 20_000
    alarms, stated = 0, 0.0
    for _ in range(draws):
        values = generator.gamma(2, size=count + 1)
        threshold, stated = copy_threshold(values[:-1], rate)
        alarms += values[-1] < threshold
    assert stated <= rate
    assert stated + 1 / (count + 1) > rate  # the largest that so many images allow
    assert alarms / draws == pytest.approx(stated, abs=4 * np.sqrt(stated / draws))


def test_where_too_few_images_are_held_out_the_rate_is_told_to_be_higher_than_wished() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert copy_threshold(values, 0.01) == (1.0, 0.25)
    assert np.isnan(copy_threshold(np.empty(0), 0.01)).all()


@pytest.mark.parametrize("images", [1, 2])
def test_the_control_sets_each_image_against_the_other_patients_alone(images: int) -> None:
    """So of the nearest patients just as many raise an alarm as the rate allows; with their own images, one less."""
    values = np.repeat(np.random.default_rng(0).permutation(100) / 100, images)
    units = [str(k // images) for k in range(len(values))]
    alarms = module._false_alarms(values, units, 0.05)
    assert alarms.sum() == 5 * images
    assert values[alarms].max() < values[~alarms].min()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=30), st.floats(0.01, 0.5))
def test_the_control_is_that_of_leaving_each_patient_out_in_turn(images: list[tuple[int, int]], rate: float) -> None:
    units, values = [str(unit) for unit, _ in images], np.array([float(value) for _, value in images])
    expected = [
        value < copy_threshold(values[[other != unit for other in units]], rate)[0]
        for unit, value in zip(units, values, strict=True)
    ]
    assert module._false_alarms(values, units, rate).tolist() == expected


def test_the_interval_of_a_share_covers_when_images_of_a_patient_agree() -> None:
    generator = np.random.default_rng(1)
    units = [f"{patient}" for patient in range(60) for _ in range(4)]
    covered = 0
    for _ in range(400):
        flags = np.repeat(generator.random(60) < 0.1, 4)
        figure = share(flags, units)
        covered += figure.low <= 0.1 <= figure.high
    assert covered / 400 > 0.93


def test_a_copy_is_not_authentic_another_is_and_the_images_of_one_patient_are_no_neighbours() -> None:
    training = np.array([[0.0], [0.1], [10.0], [20.0]])
    patients = np.array([0, 0, 1, 2])
    # The nearest of another patient is 10 from the first image, and not 0.1.
    found = Nearest(np.array([9.0, 9.5, 0.5, 11.0]), np.array([0, 2, 3, 3]))
    assert authentic(found, training, patients).tolist() == [False, False, False, True]
    apart = authentic(found, training, np.arange(4))
    assert apart.tolist() == [True, False, False, True]


def test_copies_are_found_counted_and_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLANTED_COPIES", 5)
    training = image_set(chests(40, 0), [f"t{k // 2}" for k in range(40)])
    known = np.concatenate([training.pixels_u8[:1], chests(39, 1)])  # of a training patient: no control
    real = image_set(known, ["t0", *(f"r{k}" for k in range(39))])
    copied = planted(training.pixels_u8[:9], 5)["all of these"]
    pixels_u8 = np.concatenate([chests(30, 2), copied, training.pixels_u8[9:10]])
    synthetic = image_set(pixels_u8, [f"s{k}" for k in range(40)])
    stages: list[tuple[str, int]] = []
    counted: list[int] = []

    def on_progress(what: str, total: int) -> Callable[[int], object]:
        stages.append((what, total))
        return counted.append

    found = privacy(synthetic, real, training, [extractor_of("layout")], 0.05, tmp_path, on_progress)
    channel = found.channels[PIXELS]
    assert channel.alarms[30:].all()
    assert channel.alarms[:30].mean() < 0.15  # 5 % are to be expected
    assert channel.nearest[30:].tolist() == list(range(10))
    assert (found.identical, found.shared_patients, found.n_held_out) == (1, 1, 39)
    assert channel.synthetic.value == channel.alarms.mean()
    assert channel.held_out.value <= 0.1
    assert channel.control.min() > 0.1
    assert found.copied.value == pytest.approx(0.25, abs=0.03)
    assert found.copied_held_out.value == 0
    assert min(figure.value for figure in channel.planted.values()) > 0.95
    layout = found.channels["layout"]
    assert layout.authentic.value < layout.authentic_held_out.value
    assert sum(counted) == stages[-1][1] == 40 + 39 + 30


def test_without_a_patient_to_measure_by_nothing_is_scored(tmp_path: Path) -> None:
    pixels_u8 = chests(6, 3)
    training = image_set(pixels_u8, [f"p{k}" for k in range(6)])
    with pytest.raises(BadInput, match="none is left"):
        privacy(training, image_set(chests(3, 4), ["p0", "p1", "p2"]), training, [], 0.01, tmp_path)
    with pytest.raises(BadInput, match="none is left"):  # the same images under other names
        privacy(training, image_set(pixels_u8[:2], ["q0", "q1"]), training, [], 0.01, tmp_path)


def test_a_reference_index_finds_what_lies_on_its_rows() -> None:
    generator = np.random.default_rng(2)
    training, held_out, others = (generator.standard_normal((count, 16)) for count in (200, 150, 100))
    rows = [Row(file=Path(f"{k}.png"), file_name=f"{k}.png", patient_id=f"p{k}") for k in range(200)]
    reference = index_of(training, rows, held_out, "key")
    channel = privacy_by_index(np.concatenate([training[:20], others]), reference, 0.05)
    assert channel.alarms[:20].all()
    assert channel.alarms[20:].mean() < 0.15
    assert channel.nearest[:20].tolist() == list(range(20))
    assert channel.rate <= 0.05
    assert not channel.planted
    assert channel.authentic.value < 0.9


def test_rare_words_are_those_of_a_plain_count() -> None:
    generator = np.random.default_rng(3)
    names = [f"w{chr(97 + k)}" for k in range(20)]
    weights = np.geomspace(1, 0.02, 20)
    texts = [
        " ".join(name for name, w in zip(names, weights, strict=True) if generator.random() < w) for _ in range(90)
    ]
    prompts, captions = texts[:30], texts[30:]
    alarms = generator.random(30) < 0.3
    found = rare_words(prompts, captions, alarms, 3)

    def held(*words: str) -> int:
        return sum(all(re.search(rf"\b{word}\b", caption) for word in words) for caption in captions)

    flagged = []
    for prompt in prompts:
        words = sorted(set(prompt.split()))
        single = any(1 <= held(word) <= 3 for word in words)
        common = [word for word in words if not 1 <= held(word) <= 3]
        pair = any(1 <= held(a, b) <= 3 for a in common for b in common if a < b)
        flagged.append(single or pair)
    assert found.flagged.tolist() == flagged
    assert found.alarms.n + found.alarms_elsewhere.n == 30
    for words, in_captions, in_prompts in found.listed:
        assert held(*words.split(" + ")) == in_captions
        assert sum(set(words.split(" + ")) <= set(prompt.split()) for prompt in prompts) == in_prompts


def test_a_word_that_no_caption_holds_is_not_rare_and_ages_are_decades() -> None:
    found = rare_words(["61 year old. Scimitar."], ["63 year old."] * 9, np.array([True]))
    assert not found.flagged.any()
    assert words_of("63 Year-Old, 7 cm") == {"60s", "year-old", "0s", "cm"}


def test_no_more_than_a_block_of_held_out_images_is_copied_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (module, copies):
        monkeypatch.setattr(place, "BLOCK", 4)
    monkeypatch.setattr(copies, "TURNS_DEGREES", (0.0,))
    monkeypatch.setattr(module, "PLANTED_COPIES", 2)
    training = image_set(chests(6, 0), [f"t{k}" for k in range(6)])
    synthetic = image_set(chests(4, 1), [f"s{k}" for k in range(4)])
    path = tmp_path / "levels"
    path.write_bytes(chests(200, 2).tobytes())
    real = image_set(np.memmap(path, np.uint8, "r", shape=(200, 128, 128)), ["t0", *(f"r{k}" for k in range(199))])
    tracemalloc.start()
    found = privacy(synthetic, real, training, [], 0.05, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n_held_out == 199
    assert peak < real.pixels_u8.nbytes


def test_the_chosen_are_searched_block_by_block_with_their_own_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    training = chests(8, 5)
    for place in (module, copies):
        monkeypatch.setattr(place, "BLOCK", 2)
    monkeypatch.setattr(copies, "_shortlist", lambda block, known: np.full((len(block), 1), 7))
    chosen = np.array([5, 1, 3, 0, 4])
    found = module._aligned(training, chosen, training, [chosen[:, None]], lambda done: None)
    assert found.index.tolist() == chosen.tolist()
    assert found.distance.max() < 1e-3


def test_words_of_any_alphabet_are_words() -> None:
    assert words_of("Lungenödem. épanchement, T2-gewichtet") == {"lungenödem", "épanchement", "t", "0s", "gewichtet"}
