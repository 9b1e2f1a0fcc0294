"""MS-SSIM against its definition and in order; diversity that tells a collapsed generator from a lively one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.evaluate import diversity as module
from gen.evaluate.diversity import FEWEST_LABELS, SCALES, diversity, label_of, ms_ssim
from gen.evaluate.extractors import Extractor
from gen.evaluate.images import ImageSet, digests

means = Extractor("means", "means-8", "", lambda x: x.reshape(len(x), 8, -1).mean(2).astype(np.float32))


def chests(count: int, seed: int, size: int = 256) -> np.ndarray:
    """uint8 (count, size, size): variations on one smooth picture, as patients' chests are."""
    from scipy.ndimage import zoom

    def octaves(number: int, generator: np.random.Generator) -> np.ndarray:
        sides = [(2**k, generator.standard_normal((number, 2**k, 2**k)) / 2**k) for k in (2, 3, 4, 5)]
        return np.asarray(sum(zoom(grid, (1, size // side, size // side), order=1) for side, grid in sides))

    common = octaves(1, np.random.default_rng(99))
    own = octaves(count, np.random.default_rng(seed))
    return np.rint(255 / (1 + np.exp(-6 * common - 4 * own))).astype(np.uint8)


def image_set(pixels_u8: np.ndarray, rows: Sequence[dict[str, object]], name: str) -> ImageSet:
    listed = tuple(
        Row(file=Path(f"{name}{k}"), file_name=f"{name}{k}", **{"patient_id": f"{name}{k}", **row})
        for k, row in enumerate(rows)
    )
    return ImageSet(Path(name), listed, pixels_u8, digests(pixels_u8))


def test_identical_one_level_other_and_inverted_pairs_lie_in_that_order() -> None:
    pixels_u8 = chests(6, 0).clip(1, 254)
    generator = np.random.default_rng(1)
    nudged = (pixels_u8.astype(int) + generator.choice([-1, 1], pixels_u8.shape)).astype(np.uint8)
    found = [ms_ssim(pixels_u8, other) for other in (pixels_u8, nudged, np.roll(pixels_u8, 1, 0), 255 - pixels_u8)]
    np.testing.assert_allclose(found[0], 1, atol=1e-12)
    assert ((found[1] > 0.97) & (found[1] < 1)).all()
    assert (found[2] < 0.9).all()
    assert (found[3] < found[2].min()).all()
    np.testing.assert_allclose(ms_ssim(nudged, pixels_u8), found[1], atol=1e-12)


def test_ms_ssim_is_its_definition_written_out_with_loops() -> None:
    first, second = chests(1, 2, 192)[0], chests(1, 3, 192)[0]
    blend = np.rint(0.6 * first + 0.4 * second).astype(np.uint8)  # so that no term is negative
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = first / 255, blend / 255
    product = 1.0
    for scale, weight in enumerate(SCALES):
        terms = []
        for i in range(len(x) - 10):
            strips = [np.lib.stride_tricks.sliding_window_view(image[i : i + 11], (11, 11))[0] for image in (x, y)]
            a, b = ((strip * window).sum((1, 2)) for strip in strips)
            va, vb = ((strip**2 * window).sum((1, 2)) - mean**2 for strip, mean in zip(strips, (a, b), strict=True))
            term = (2 * ((strips[0] * strips[1] * window).sum((1, 2)) - a * b) + 0.0009) / (va + vb + 0.0009)
            light = (2 * a * b + 0.0001) / (a**2 + b**2 + 0.0001)
            terms.append(term * light if scale == 4 else term)
        product *= np.mean(terms) ** weight
        x, y = (image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3)) for image in (x, y)) if scale < 4 else (x, y)
    [found] = ms_ssim(first[None], blend[None])
    assert found == pytest.approx(product, abs=1e-9)


def test_images_too_small_for_five_scales_are_bad_input() -> None:
    with pytest.raises(BadInput, match="176 pixels"):
        ms_ssim(np.zeros((1, 128, 128), np.uint8), np.zeros((1, 128, 128), np.uint8))


def test_a_generator_that_repeats_itself_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    labels = [{"view": "PA", "sex": "F", "age": age, "findings": ("Mass",)} for age in (25, 45, 65, 85)]
    labels += [{**label, "sex": "M"} for label in labels]
    real = image_set(chests(24, 4), [labels[k % 8] for k in range(24)], "real")
    prompted = [{**labels[k % 8], "prompt": f"prompt {k % 8}"} for k in range(24)]
    lively = image_set(chests(24, 5), prompted, "lively")
    once = chests(8, 6).astype(int)
    nearly = np.concatenate([once + shift for shift in (0, 2, 4)]).clip(0, 255).astype(np.uint8)
    collapsed = image_set(nearly, prompted, "collapsed")
    good, bad = (diversity(real, some, means, tmp_path) for some in (lively, collapsed))
    assert (good.within, good.label) == ("prompt", "findings, view, sex and age band")
    assert good.ms_ssim.synthetic.low < good.ms_ssim.real.value < good.ms_ssim.synthetic.high
    assert bad.ms_ssim.synthetic.low > bad.ms_ssim.real.high
    assert bad.distance.synthetic.high < bad.distance.real.low
    assert bad.ms_ssim.synthetic_apart.high < bad.ms_ssim.synthetic.low  # different prompts still look different
    assert good.ms_ssim.real == bad.ms_ssim.real
    assert (good.ms_ssim.synthetic.n, good.ms_ssim.real.n) == (24, 24)  # three pairs of each of eight


def test_pairs_are_of_different_patients_and_of_labels_that_the_prompts_have(tmp_path: Path) -> None:
    labels = [{"age": age, "sex": sex} for age in (25, 45, 65, 85) for sex in "FM"]
    many = [{**labels[k % 8], "patient_id": f"many {k % 8}"} for k in range(48)]  # six images each, all alike
    rows = [*many, *labels, {"age": 5, "sex": "F"}, {"age": 5, "sex": "F"}]  # and a label that no prompt has
    pixels_u8 = np.concatenate([np.tile(chests(8, 7), (6, 1, 1)), chests(8, 8), chests(2, 9)])
    made = [{**labels[k % 8], "prompt": f"prompt {k % 8}"} for k in range(16)]
    found = diversity(image_set(pixels_u8, rows, "real"), image_set(chests(16, 10), made, "made"), means, tmp_path)
    assert found.label == "findings, view, sex and age band"
    assert found.ms_ssim.real.n == 8 * 3
    assert found.ms_ssim.real.high < 0.9
    assert found.distance.real.low > 0


def test_the_labels_of_the_prompts_are_found_among_many_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LABELS", 8)
    labels = [{"age": age, "sex": sex} for age in (25, 45, 65, 85) for sex in "FM"]
    others = [{**label, "view": view} for label in labels for view in ("PA", "AP", "lateral")]
    rows = [*others, *others, *labels, *labels]
    pixels_u8 = np.tile(chests(8, 11), (len(rows) // 8, 1, 1))
    made = [{**labels[k % 8], "prompt": f"prompt {k % 8}"} for k in range(16)]
    found = diversity(image_set(pixels_u8, rows, "real"), image_set(chests(16, 10), made, "made"), means, tmp_path)
    assert found.label == "findings, view, sex and age band"
    assert found.ms_ssim.real.n == 8


def test_one_prompt_that_came_twice_does_not_speak_for_the_set(tmp_path: Path) -> None:
    labels = [{"age": age, "sex": sex} for age in (25, 45, 65, 85) for sex in "FM"]
    made = [{**labels[k % 8], "prompt": f"prompt {min(k, 14)}"} for k in range(16)]
    real = image_set(chests(16, 12), [labels[k % 8] for k in range(16)], "real")
    found = diversity(real, image_set(chests(16, 13), made, "made"), means, tmp_path)
    assert (found.within, found.ms_ssim.synthetic.n) == ("label", 8)
    few = [{**labels[k % 2], "prompt": f"prompt {k % 2}"} for k in range(16)]  # two prompts are all there is
    assert diversity(real, image_set(chests(16, 13), few, "few"), means, tmp_path).within == "prompt"


def test_a_prompt_with_many_seeds_weighs_no_more_than_another(tmp_path: Path) -> None:
    pixels_u8 = chests(10, 14)
    made = [{"prompt": f"prompt {0 if k < 8 else 1}"} for k in range(10)]
    alike = np.concatenate([np.tile(pixels_u8[:1], (8, 1, 1)), pixels_u8[8:]])  # of the first prompt always one picture
    real = image_set(chests(4, 15), [{}] * 4, "real")
    found = diversity(real, image_set(alike, made, "made"), means, tmp_path).distance.synthetic
    features = means.extract(pixels_u8[8:])
    assert found.n == 3 + 1
    assert found.value == pytest.approx(float(np.sqrt(np.square(features[0] - features[1]).mean())) / 2, rel=1e-5)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=40))
@settings(max_examples=50)
def test_pairs_share_a_group_or_do_not_and_are_never_of_one_patient(images: list[tuple[str, int]]) -> None:
    groups, units = [group for group, _ in images], [str(unit) for _, unit in images]
    within, apart = module._pairs(groups, units), module._apart(groups, units)
    assert all(groups[a] == groups[b] == group and units[a] != units[b] for a, b, group in within)
    assert all(groups[a] != groups[b] and units[a] != units[b] for a, b, _ in apart)
    assert len({index for a, b, _ in apart for index in (a, b)}) == 2 * len(apart)


def test_labels_grow_coarser_until_enough_are_shared_and_without_repeats_pairs_share_a_label(tmp_path: Path) -> None:
    findings = ("Mass", "Edema", "Nodule", "Hernia", "Fibrosis", "Emphysema", "Pneumonia", "Atelectasis")
    assert len(findings) == FEWEST_LABELS
    real = [
        {"findings": (findings[k % 8],), "age": 20 + 20 * (k // 8), "view": ("PA", "AP")[k // 8]} for k in range(16)
    ]
    made = [{**row, "prompt": f"prompt {k}"} for k, row in enumerate(real)]
    found = diversity(image_set(chests(16, 1), real, "real"), image_set(chests(16, 2), made, "made"), means, tmp_path)
    assert (found.within, found.label) == ("label", "findings")
    assert found.distance.real.n == found.distance.synthetic.n == 8


def test_a_label_forgets_what_is_coarser_than_it() -> None:
    old, young = (Row(file=Path("a"), age=age, sex="F", view="PA", findings=("Mass",)) for age in (70.0, 30.0))
    child = Row(file=Path("b"), age=5.0, sex="F", view="PA", findings=("Mass",))
    assert label_of(old) != label_of(young)
    assert label_of(old, 1) == label_of(young, 1) != label_of(child, 1)
    assert label_of(old, 2) == label_of(child, 2)
