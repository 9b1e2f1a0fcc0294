"""Who passes is counted by thresholds from other patients' images, never from an image's own."""

from __future__ import annotations

from collections.abc import Sequence

from augment.dataset.gates.calibration import Limit, Limits, RealImage
from augment.dataset.gates.rates import all_of_its_own, outcomes
from gen.statistics.groups import ALL

IMAGES = [RealImage(f"patient {k // 2}", {}, {"sex: F": 0.5, "copy": 0.5}) for k in range(40)]


def test_no_image_is_held_to_a_threshold_that_its_own_patient_had_a_part_in() -> None:
    asked: list[set[str]] = []

    def fit(chosen: Sequence[RealImage]) -> dict[str, Limits]:
        """A threshold that tells of each patient whether he is among the chosen."""
        asked.append({image.patient for image in chosen})
        return {"sex: F": Limits({ALL: Limit(0.4, len(chosen), None)}, {})}

    limits = {kind: Limits({ALL: Limit(0.6, 40, 20)}, {}) for kind in ("sex: F", "copy")}
    passed = outcomes(IMAGES, limits, fit)
    everybody = {image.patient for image in IMAGES}
    for patient in everybody:
        assert sum(patient not in chosen for chosen in asked) == 1  # the fold that he is tested in
    assert all(hits["sex: F"] for hits in passed)  # by the fitted thresholds
    assert not any(hits["copy"] for hits in passed)  # which came with the judge
    assert not any(all_of_its_own(hits) for hits in passed)


def test_a_group_without_a_threshold_in_the_set_has_none_in_the_count() -> None:
    images = [RealImage(f"patient {k}", {"sex": "F"}, {"sex: F": 0.5}) for k in range(20)]
    wanted = {"sex: F": Limits({ALL: Limit(0.9, 20, 20)}, {})}

    def fit(chosen: Sequence[RealImage]) -> dict[str, Limits]:
        return {"sex: F": Limits({ALL: Limit(0.6, 16, 16), "sex=F": Limit(0.0, 16, 16)}, {})}

    assert not any(hits["sex: F"] for hits in outcomes(images, wanted, fit))
