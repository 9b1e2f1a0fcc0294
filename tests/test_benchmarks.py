"""The benchmarks' pure functions are theorems, and each script starts."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import common
from benchmarks.anatomy import ladder as anatomy_ladder
from benchmarks.anatomy import lung_boxes
from benchmarks.dataset import scale, speed
from benchmarks.evaluation import interval_coverage, ladder, planted_copies
from benchmarks.generator import (
    autoencoder,
    bodies,
    decoder,
    fidelity,
    likeness,
    prompt_effect,
    reader_sheet,
    sampling_speed,
    training_curve,
)
from benchmarks.judge import describe_calls
from benchmarks.suppress import nodules
from gen.core.errors import BadInput
from gen.core.manifest import Row
from gen.core.radiograph import Radiograph
from gen.data.rows import study_of

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if "common.launch(main)" in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """(12, 192, 192) in [0, 1]: smooth fields with some noise."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.standard_normal((12, 192, 192)), (0, 8, 8))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (smooth + 0.02 * generator.standard_normal(smooth.shape)).clip(0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def levels(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255).astype(np.uint8)


def test_every_benchmark_explains_itself() -> None:
    assert len(SCRIPTS) >= 10
    started = [
        subprocess.Popen(
            [sys.executable, "-m", script, "--help"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for script in SCRIPTS
    ]
    for script, process in zip(SCRIPTS, started, strict=True):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.startswith(f"Usage: python -m {script}")


# --- reconstruction


def test_every_score_of_an_image_with_itself_is_the_best_and_damage_lowers_it_in_order(images: np.ndarray) -> None:
    from scipy.ndimage import gaussian_filter

    assert autoencoder.scores(images, images)["MS-SSIM"] == pytest.approx(1)
    rungs = [autoencoder.scores(gaussian_filter(images, (0, sigma, sigma)), images) for sigma in (0.5, 1, 2, 4)]
    for name in ("PSNR, dB", "MS-SSIM", "gradient energy ratio"):
        means = [rung[name].mean() for rung in rungs]
        assert means == sorted(means, reverse=True), name
        assert 0 < means[-1] < means[0], name


def test_one_level_of_difference_everywhere_has_the_psnr_of_its_closed_form(images: np.ndarray) -> None:
    dark = images * np.float32(0.9)
    found = autoencoder.scores(dark + np.float32(1 / 255), dark)
    assert found["PSNR, dB"] == pytest.approx(20 * np.log10(255), abs=1e-2)
    assert found["gradient energy ratio"] == pytest.approx(1, abs=1e-3)


# --- fidelity


def test_gradient_energy_of_a_ramp_is_its_slope_squared() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8), (1, 64, 1))
    assert fidelity.gradient_energy(ramp) == pytest.approx(1 / 255**2)


# --- the evaluation's own tests: planted copies, the ladder, intervals


def test_recall_counts_what_is_below_the_threshold_of_the_held_out_films() -> None:
    control, units = np.linspace(1, 2, 200), np.array([str(k // 2) for k in range(200)])
    found = np.array([0.5] * 30 + [1.5] * 10)
    value, low, high = planted_copies.recall_at(control, units, found, 0.01).triple
    assert value == 0.75
    assert 0.5 < low < 0.75 < high < 0.95
    # All are caught or none on every draw: the images that were planted are few, and the interval says so.
    value, low, high = planted_copies.recall_at(control, units, np.full(40, 0.5), 0.01).triple
    assert (value, high) == (1, pytest.approx(1))
    assert low == pytest.approx(40 / (40 + 1.96**2), abs=1e-3)  # Wilson's
    value, low, high = planted_copies.recall_at(control, units, np.full(40, 3.0), 0.01).triple
    assert (value, low) == (0, pytest.approx(0))
    assert 0 < high < 0.1


def test_recall_grows_with_the_false_alarms_and_few_held_out_patients_widen_its_interval() -> None:
    generator = np.random.default_rng(6)
    found, control = generator.normal(0, 1, 100), generator.normal(2, 1, 400)
    alone = np.arange(400).astype(str)
    recalls = [planted_copies.recall_at(control, alone, found, rate).value for rate in (0.01, 0.05, 0.2, 0.5)]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1]
    # The same distances of four patients only: which of them are drawn moves the threshold.
    _, low, high = planted_copies.recall_at(np.sort(control), alone, found, 0.05).triple
    _, lower, higher = planted_copies.recall_at(np.sort(control), np.repeat(np.arange(4), 100), found, 0.05).triple
    assert higher - lower > high - low


def test_the_interval_of_recall_covers_the_truth() -> None:
    truth, covered = 0.15866, 0  # of N(1, 1) below the 5 % of N(1.645, 1), at 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        control, found = generator.normal(1.64485, 1, 300), generator.normal(1, 1, 200)
        _, low, high = planted_copies.recall_at(control, np.arange(300), found, 0.05).triple
        covered += low <= truth <= high
    assert covered >= 25


def test_shuffled_labels_move_between_images_and_pixels_and_patients_stay() -> None:
    from gen.evaluate.images import ImageSet

    rows = tuple(
        Row(
            file=Path(f"/{k}.png"),
            file_name=f"{k}.png",
            patient_id=f"p{k}",
            age=float(k) if k % 2 else None,
            notes="" if k % 2 else "paediatric",  # all that says that some are children's
            prompt=str(k),
        )
        for k in range(40)
    )
    images = ImageSet(Path("/"), rows, np.arange(40, dtype=np.uint8)[:, None, None], tuple(map(str, range(40))))
    dealt = ladder.shuffled(images, 0)
    assert (dealt.pixels_u8 is images.pixels_u8, dealt.sha256, dealt.units) == (True, images.sha256, images.units)
    assert [row.file_name for row in dealt.rows] == [row.file_name for row in rows]
    said = {row.prompt: study_of(row) for row in rows}
    assert all(study_of(row) == said[row.prompt] for row in dealt.rows)  # what is said of one image stays together
    assert sorted(row.prompt for row in dealt.rows) == sorted(row.prompt for row in rows)
    assert sum(new.prompt != old.prompt for new, old in zip(dealt.rows, rows, strict=True)) > 30


def test_the_ladders_rungs_are_the_images_and_worse_and_worse(levels: np.ndarray) -> None:
    rungs = list(ladder.damaged(levels).values())
    assert np.array_equal(rungs[0], levels)
    off = [float(np.square(rung.astype(float) - levels).mean()) for rung in rungs]
    assert 0 == off[0] < off[1] < off[2] < off[3]


def test_normal_films_of_a_patient_are_alike_and_the_coverage_of_an_interval_is_counted() -> None:
    found = interval_coverage.drawn((0, 0), 6000, 3, 0.4)
    assert found.std() == pytest.approx(1, abs=0.02)
    assert found.mean() == pytest.approx(0.4, abs=0.03)
    assert np.corrcoef(found[::3, 0], found[1::3, 0])[0, 1] == pytest.approx(0.64, abs=0.05)
    table = interval_coverage.covered(24, 20, 0.4, 1)
    assert set(table) == set(interval_coverage.METRICS)
    for row in table.values():
        value, low, high = row["coverage"].triple
        assert 0.5 < low <= value <= high <= 1


def test_what_was_said_is_counted_against_labels_that_are_known() -> None:
    said = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    labels = np.array([[1, 0], [0, np.nan], [1, 0], [0, 0]])
    found = describe_calls.figures_of(said, labels, np.array([False, False, False, True]), ("a", "b", "c", "d"))
    assert [figure.value for figure in found.values()] == [1, 1 / 3, 1 / 2, 1]
    nothing = describe_calls.figures_of(said & False, labels, np.zeros(4, bool), ("a", "b", "c", "d"))
    assert nothing["findings said an image"].triple == (0, 0, 0)
    assert np.isnan(nothing["of those, there"].triple).all()


# --- intervals, patients, cache


def test_one_image_a_patient_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [Row(file=Path(f"/{i}.png"), file_name=f"{i}.png", patient_id=f"p{i % 7}") for i in range(40)]
    chosen = common.one_image_a_patient(rows)
    assert len({row.patient_id for row in chosen}) == len(chosen) == 7
    assert chosen == common.one_image_a_patient(rows[::-1])
    assert common.one_image_a_patient(rows, 3) == chosen[:3]


def test_samples_come_from_the_cache_and_only_the_missing_ones_are_made(toy_model: Path, tmp_path: Path) -> None:
    prompts, seeds = ["PA view.", "AP view."], [1, 2]
    first = common.cached_samples(tmp_path, toy_model, prompts[:1], seeds[:1], 2, 1.0)
    [file] = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    both = common.cached_samples(tmp_path, toy_model, prompts, seeds, 2, 1.0)
    assert file.stat().st_mtime_ns == written
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(both[0].pixels, first[0].pixels)
    assert not np.array_equal(both[0].pixels, both[1].pixels)
    assert both[1].provenance["synthetic"] == "yes"
    assert common.as_u8(both).shape == (2, common.model_size(toy_model), common.model_size(toy_model))


# --- prompt effect


def test_auroc_is_one_for_a_perfect_order_and_its_interval_covers_a_half_for_none() -> None:
    labels, units = np.arange(40) % 2 == 0, [str(i) for i in range(40)]
    assert prompt_effect.by_units(labels, labels.astype(float), units).triple == (1, 1, 1)
    value, low, high = prompt_effect.by_units(labels, np.random.default_rng(4).random(40), units).triple
    assert low < 0.5 < high
    assert low < value < high


def test_a_classifier_learns_what_is_in_the_pixels_and_ignores_exposure(levels: np.ndarray) -> None:
    many = np.concatenate([levels] * 8)
    many = np.rint(many * np.random.default_rng(5).uniform(0.4, 0.9, (len(many), 1, 1))).astype(np.uint8)
    labels = np.arange(len(many)) % 2 == 0
    many[labels, 96:, 96:] //= 3
    classifier = prompt_effect.fit_classifier(many, labels)
    found = classifier.decision_function(prompt_effect.features(many))
    assert found[labels].min() > found[~labels].max()
    assert prompt_effect.features(many // 2) == pytest.approx(prompt_effect.features(many), abs=0.1)


def test_differences_are_counted_in_float_and_know_no_wrap_around() -> None:
    black, white = np.zeros((1, 8, 8), np.uint8), np.full((1, 8, 8), 255, np.uint8)
    assert prompt_effect.differences(black, white) == prompt_effect.differences(white, black) == (1, 1)
    assert prompt_effect.differences(black, black) == (0, 0)


def test_each_contrast_changes_one_fact_of_the_study() -> None:
    from gen.language.prompt import read_prompt

    for contrast in prompt_effect.CONTRASTS:
        present, absent = (read_prompt(text).study for text in (contrast.present, contrast.absent))
        changed = [key for key, value in vars(present).items() if value != getattr(absent, key)]
        assert len(changed) == 1, contrast.name


# --- speed and curves


def test_import_time_is_the_sum_of_the_self_column() -> None:
    report = "import time: self [us] | cumulative | imported package\nimport time:       100 |        100 |   a\n"
    assert sampling_speed.import_seconds(report + "import time:       400 |        500 | b\nnoise\n") == 500e-6


def test_the_sides_of_a_race_alternate() -> None:
    order: list[str] = []
    seconds = common.alternate({name: partial(order.append, name) for name in "ab"}, 3)
    assert order == list("ababab")
    assert [len(of) for of in seconds.values()] == [3, 3]


def test_a_running_mean_keeps_a_constant_and_the_length() -> None:
    for length in (1, 3, 40):
        assert training_curve.running_mean([2.0] * length, 15) == pytest.approx(np.full(length, 2.0))


def test_rows_that_a_resumed_run_repeats_count_once() -> None:
    rows = [
        {"event": "validation", "images": 10, "loss": 1.0},
        {"event": "validation", "images": 20, "loss": 0.9},
        {"event": "train", "images": 20, "loss": 5.0},
        {"event": "validation", "images": 20, "loss": 0.8},
        {"event": "validation", "images": 30, "loss": None},
    ]
    assert training_curve.series(rows, "validation", "loss") == ([10, 20], [1.0, 0.8])


def test_a_run_without_a_log_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.generator.training_curve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert len(done.stderr.splitlines()) == 1


# --- the data set job


def test_a_cost_that_is_the_same_share_of_every_round_is_known_exactly_however_the_rounds_differ() -> None:
    seconds = np.random.default_rng(7).lognormal(0, 1, 12)
    found = speed.ratio(1.04 * seconds, seconds)
    assert (found.value, found.low, found.high) == pytest.approx((1.04, 1.04, 1.04))
    uneven = speed.ratio(seconds + 0.04 * seconds.mean() * (np.arange(12) % 2) * 2, seconds)
    assert uneven.value == pytest.approx(1.04)
    assert uneven.low < 1.04 < uneven.high


def test_every_side_of_the_job_stands_in_the_middle_on_average() -> None:
    orders = speed.in_turn(4)
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    for side in orders[0]:
        places = [order.index(side) for order in orders]
        assert sum(places) == len(orders)  # so that a drift of the machine cancels


def test_growth_leaves_out_what_does_not_grow() -> None:
    took = {images: 3.0 + 0.5 * images / 1000 for images in (100, 1000)}
    assert scale.growth(took[100], took[1000], (100, 1000)) == pytest.approx(0.5)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_rate_once_warm_does_not_know_the_start(workers: int) -> None:
    for start in (0.0, 11.0):
        times = sorted(start + 2.0 * (turn + 1) for turn in range(4) for _ in range(workers))
        assert scale.steady(times, workers, 5) == pytest.approx(workers * 5 / 2.0)
    assert np.isnan(scale.steady(times[:workers], workers, 5))


def test_on_paper_the_driver_is_busy_all_the_time_where_it_is_said_to_be() -> None:
    costs = {"image": 3e4, "entry": 2e3, "commit": 1e-2, "driver": 3e-5, "receipt": 2e-3, "listing": 1e-3}
    costs |= {"resume": 0.04, "finish": 0.5}
    one, ten = (scale.on_paper(gpus, 100, costs) for gpus in (100, 1000))
    assert one["gpus_a_driver"] == pytest.approx(ten["gpus_a_driver"])
    most = round(one["gpus_a_driver"])
    assert scale.on_paper(most, 100, costs)["driver_busy"] == pytest.approx(1, rel=1e-3)
    assert ten["driver_busy"] == pytest.approx(10 * one["driver_busy"])
    assert ten["commit_share"] == one["commit_share"]  # of a worker's own time
    larger = scale.on_paper(1000, 1000, costs)
    assert larger["shards_a_second"] == pytest.approx(one["shards_a_second"])
    assert larger["megabytes_a_second"] == pytest.approx(ten["megabytes_a_second"])
    assert one["driver_busy"] < larger["driver_busy"] < ten["driver_busy"]  # it reads the records of every image


def test_the_larger_a_shard_the_less_of_the_batches_is_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [scale.padding(size) for size in (8, 100, 1000)]
    assert shares == sorted(shares, reverse=True)
    monkeypatch.setattr(scale, "TRIES", 1)  # nothing is tried again
    assert scale.padding(16) == 0
    assert scale.padding(12) == pytest.approx(1 / 4)


def test_a_listed_set_has_all_its_shards(tmp_path: Path) -> None:
    assert 0 < scale.listing_seconds(tmp_path, 2000) < 5


# --- the blind reader test


def _rows(kind: str, count: int) -> list[Row]:
    return [
        Row(file=Path(f"/{kind}/{k}.png"), file_name=f"{kind}-{k}.png", patient_id=f"{kind} {k % 40}")
        for k in range(count)
    ]


def test_the_sheet_shows_each_patient_once_in_an_order_that_tells_nothing() -> None:
    kinds = {kind: _rows(kind, 60) for kind in reader_sheet.CHOICES}
    drawn = reader_sheet.draw(kinds, 30, 0)
    assert len({row.patient_id for _, row in drawn}) == len(drawn) == 60
    assert [row.file_name for _, row in drawn] == [row.file_name for _, row in reader_sheet.draw(kinds, 30, 0)]
    assert drawn != reader_sheet.draw(kinds, 30, 1)
    first = sum(kind == "real" for kind, _ in drawn[:30])
    assert 5 < first < 25
    with pytest.raises(BadInput, match="40 patients, and 41"):
        reader_sheet.draw(kinds, 41, 0)


def test_the_page_does_not_know_what_is_real(levels: np.ndarray) -> None:
    page = reader_sheet.page(list(levels[:4]))
    assert page.count("data:image/png;base64,") == page.count("<form ") == 4
    assert page.count('value="real"') == page.count('value="synthetic"') == 4
    assert reader_sheet.page(list(levels[:4])) == page


def test_answers_are_right_as_often_as_they_agree_with_the_key(tmp_path: Path) -> None:
    key = [{"kind": reader_sheet.CHOICES[k % 2], "file": f"{k}.png"} for k in range(20)]
    flipped = {"real": "synthetic", "synthetic": "real"}
    for wrong in (0, 5, 20):
        lines = ["image,answer,impossible"]
        for k, entry in enumerate(key):
            answer = flipped[entry["kind"]] if k < wrong else entry["kind"]
            lines.append(f"{k + 1},{answer},{'yes' if k == 1 else 'no'}")
        (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
        found = reader_sheet.score(key, reader_sheet.read_answers(tmp_path / "answers.csv", 20))
        assert found.right.value == 1 - wrong / 20
        assert found.named == ["2: 1.png"]
        assert (found.impossible["synthetic"].value, found.impossible["real"].value) == (0.1, 0)
    unanswered = dict.fromkeys(range(1, 21), ("", False))
    assert reader_sheet.score(key, unanswered).right.n == 0
    with pytest.raises(BadInput, match="images 1 to 21"):
        reader_sheet.read_answers(tmp_path / "answers.csv", 21)


# --- the ladder of the anatomy


def test_damage_of_the_anatomy_is_what_it_is_called(levels: np.ndarray) -> None:
    quartered = anatomy_ladder.quartered(levels)
    assert not np.array_equal(quartered, levels)
    four_times = levels
    for _ in range(4):
        four_times = anatomy_ladder.quartered(four_times)
    assert np.array_equal(four_times, levels)
    painted = anatomy_ladder.one_lunged(levels)
    half = levels.shape[2] // 2
    assert np.array_equal(painted[..., :half], levels[..., :half])
    assert (painted[..., -half // 2 :].std((1, 2)) == 0).all()
    for damage in (anatomy_ladder.blurred, anatomy_ladder.noisy, anatomy_ladder.warped):
        assert damage(levels).shape == levels.shape
        assert np.array_equal(damage(levels), damage(levels))


def test_a_pattern_that_repeats_with_the_patches_shows_as_their_lattice() -> None:
    noise = np.random.default_rng(0).standard_normal((16, 128, 128))
    tile = np.tile(np.random.default_rng(1).standard_normal((8, 8)), (16, 16))
    assert decoder.lattice(noise, 8).mean() == pytest.approx(1, abs=0.2)
    sizes = [decoder.lattice(noise + size * tile, 8).mean() for size in (0.25, 0.5, 1)]
    assert 1.2 < sizes[0] < sizes[1] < sizes[2]
    assert decoder.lattice(3 * noise - 1, 8) == pytest.approx(decoder.lattice(noise, 8))


@pytest.mark.parametrize("moved", [0, 1, 3, 7])
def test_an_outline_moves_as_far_as_its_mask(moved: int) -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, 20:40] = True
    assert likeness.outline_shift(mask, np.roll(mask, moved, axis=1)) == pytest.approx(moved)
    assert np.isnan(likeness.outline_shift(mask, np.zeros_like(mask)))


def test_the_contrast_of_a_finding_is_what_it_adds() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:30, 25:40] = True
    beside = np.ones_like(mask)
    for added in (-0.2, 0.0, 0.3):
        image = (0.4 + added * mask).astype(np.float32)
        assert likeness.contrast(image, mask, beside) == pytest.approx(added, abs=1e-6)
    assert np.isnan(likeness.contrast(image, mask, mask))  # nothing beside it


def test_half_of_each_contrast_is_half_of_all() -> None:
    pairs = [(before, before / 2) for before in (-0.3, 0.1, 0.2, 0.4)]
    assert likeness.shares(pairs, list("abcd")).value == pytest.approx(0.5)


def test_a_box_holds_the_largest_part_of_a_mask_and_overlaps_by_its_closed_form() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:12, 4:10] = mask[18, 28] = True
    assert lung_boxes.box_of(mask) == (4, 2, 10, 12)
    assert lung_boxes.box_of(mask & False) is None
    one = (0.0, 0.0, 4.0, 2.0)
    assert lung_boxes.overlap(one, one) == 1
    assert lung_boxes.overlap(one, (2.0, 1.0, 6.0, 3.0)) == pytest.approx(2 / 14)
    assert lung_boxes.overlap(one, (9.0, 9.0, 10.0, 10.0)) == 0


def test_blobs_are_scored_by_the_laplacian_of_a_gaussian_at_every_scale() -> None:
    from scipy import ndimage

    image = ndimage.gaussian_filter(np.random.default_rng(0).random((150, 120), np.float32), 2)
    lungs = np.zeros(image.shape, bool)
    lungs[50:100, 40:80] = True
    best = np.full(image.shape, -np.inf)
    for sigma in nodules.SCALES_MM:
        response = -(sigma**2) * ndimage.gaussian_laplace(image.astype(np.float64), sigma, truncate=9)
        best = np.maximum(best, response / response[lungs].std())
    np.testing.assert_allclose(nodules.blob_score(image, 1.0, lungs)[lungs], best[lungs], atol=1e-3)


def test_a_mark_changes_one_corner_and_the_agreement_of_two_radiographs_is_that_of_their_levels() -> None:
    plain = Radiograph(np.full((256, 256), 100 / 255, np.float32))
    changed = np.abs(bodies.marked(plain).pixels - plain.pixels) > 1e-6
    assert changed.any()
    assert not changed[40:].any()
    assert not changed[:, 40:].any()
    assert bodies.psnr(plain, plain) == np.inf
    assert bodies.psnr(plain, Radiograph(plain.pixels + np.float32(2 / 255))) == pytest.approx(20 * np.log10(255 / 2))
