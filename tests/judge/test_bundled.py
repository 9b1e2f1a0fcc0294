"""The judge that travels with the package: whole, small, honest about itself, and not taken in by what is no chest."""

from __future__ import annotations

import numpy as np
import pytest

from gen.core.bundled import bundled_judge, bundled_model
from gen.core.files import verify_folder
from gen.core.terms import FINDINGS
from gen.judge.degrade import blur
from gen.judge.familiar import FALSE_ALARMS
from gen.judge.judge import load_judge


def test_it_is_whole_and_small_and_hides_no_model_from_sampling() -> None:
    folder = bundled_judge()
    assert verify_folder(folder) == []
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors") if path.stem != "reference") < 4e6
    known = load_judge(folder, device="cpu").known
    assert known is not None
    assert (folder / "reference.safetensors").stat().st_size < 150 * len(known.codes)
    assert bundled_model() != folder


def test_its_card_and_figures_are_its_own() -> None:
    judge = load_judge(device="cpu")
    card = (bundled_judge() / "README.md").read_text(encoding="utf-8")
    assert judge.reference is not None
    assert judge.reference.key == judge.fingerprint
    assert judge.known is not None
    assert judge.known.key == judge.fingerprint
    assert f"a row for each of the {len(judge.known.codes)} training images" in card
    of_model = (bundled_model() / "README.md").read_text(encoding="utf-8")
    assert f"{len(judge.reference.codes):,} images" in of_model
    assert judge.familiar is not None
    assert judge.familiar.false_alarms <= FALSE_ALARMS
    assert set(judge.findings) <= set(FINDINGS)
    assert set(judge.figures["findings"]) == set(judge.findings) == set(judge.calibration.thresholds)
    assert judge.figures["split"] == "test"
    for name in judge.findings:
        auroc, low, high = judge.figures["findings"][name]["auroc"]
        assert f"{auroc:.2f} [{low:.2f}, {high:.2f}]" in card


def test_it_looks_for_copies_in_the_same_index_by_its_path() -> None:
    by_default, by_path = load_judge(device="cpu"), load_judge(bundled_judge(), device="cpu")
    assert by_default.reference is not None
    assert by_path.reference is not None
    np.testing.assert_array_equal(by_default.reference.codes, by_path.reference.codes)
    assert by_default.known is not None
    assert len(by_default.known.codes) != len(by_default.reference.codes)  # what the judge learnt is another index


@pytest.mark.parametrize("smooth", [0.5, 4.0, 30.0])
def test_noise_of_any_smoothness_is_no_chest(smooth: float) -> None:
    judge = load_judge(device="cpu")
    made = np.stack([blur(np.random.default_rng(i).standard_normal((256, 256)), smooth) for i in range(4)])
    spread = made.std((1, 2), keepdims=True)
    seen = judge.read(np.clip(0.5 + 0.2 * made / spread, 0, 1).astype(np.float32))
    assert (seen.quality[:, seen.qualities.index("anatomy")] < 0.5).all()
