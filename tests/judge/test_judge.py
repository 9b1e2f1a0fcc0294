"""Opening a judge and looking: any size and company, calibrated, and broken folders and images named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gen.core.errors import BadInput, EnvironmentLacks
from gen.judge.calibrate import read_calibration, sigmoid
from gen.judge.judge import Judge, load_judge
from gen.judge.network import raw_scores
from gen.judge.readings import Readings


@pytest.fixture(scope="module")
def judge(toy_judge: Path) -> Judge:
    return load_judge(toy_judge, device="cpu")


def pictures(count: int) -> list[np.ndarray]:
    """float32 of different sizes and shapes, in [0, 1]."""
    rng = np.random.default_rng(0)
    return [rng.random((20 + 7 * (i % 5), 24 + 5 * (i % 4))).astype(np.float32) for i in range(count)]


def test_what_is_seen_does_not_depend_on_company_or_container(judge: Judge) -> None:
    images = pictures(35)
    counted: list[int] = []
    whole = judge.read(images, on_images=counted.append)
    assert len(whole) == sum(counted) == 35
    assert max(counted) <= 32  # so much is in memory at a time
    for i in (0, 33, 34):
        alone = judge.read([images[i]])
        for name in ("findings", "embedding", "quality", "female", "age", "artefact"):
            np.testing.assert_allclose(getattr(alone, name)[0], getattr(whole, name)[i], rtol=1e-4, atol=1e-5)
    same_size = np.stack([images[0]] * 3)
    np.testing.assert_array_equal(judge.read(same_size).findings, judge.read([images[0]] * 3).findings)


def test_eight_bits_and_floats_of_the_same_picture_are_the_same(judge: Judge) -> None:
    pixels_u8 = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    floats = pixels_u8.astype(np.float32) / 255
    for name in ("findings", "embedding"):
        np.testing.assert_array_equal(getattr(judge.read(pixels_u8), name), getattr(judge.read(floats), name))


def test_predict_is_read_image_by_image(judge: Judge) -> None:
    readings, seen = judge.read(pictures(3)), judge.predict(pictures(3))
    assert [one.age for one in seen] == [float(age) for age in readings.age]
    assert list(seen[0].findings) == list(judge.findings)
    assert all(0 <= p <= 1 for one in seen for p in (*one.findings.values(), *one.quality.values(), one.artefact or 0))
    assert np.linalg.norm(seen[2].embedding) == pytest.approx(1, abs=1e-5)
    assert len(judge.read([])) == 0
    assert judge.predict([]) == []


def test_probabilities_are_the_logits_through_the_temperatures(judge: Judge) -> None:
    pixels_u8 = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    raw, readings, t = raw_scores(judge.network, pixels_u8), judge.read(pixels_u8), judge.calibration.temperatures
    np.testing.assert_allclose(readings.findings, sigmoid(raw["logits"][:, :-3] / t["findings"]), rtol=1e-5)
    for column, (name, seen) in enumerate(
        {"female": readings.female, "AP": readings.ap, "child": readings.child}.items()
    ):
        np.testing.assert_allclose(seen, sigmoid(raw["logits"][:, column - 3] / t[name]), rtol=1e-5)
    np.testing.assert_allclose(readings.quality[:, 1], sigmoid(raw["quality"][:, 1] / t["sharpness"]), rtol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 8, 8), np.float32),
        np.zeros((8, 8), np.int64),
        np.zeros((0, 8), np.float32),
        np.full((8, 8), 1.5, np.float32),
        np.full((8, 8), np.nan, np.float32),
    ],
    ids=["colour", "integers", "empty", "out of range", "NaN"],
)
def test_what_is_no_image_is_refused_by_its_number(judge: Judge, image: np.ndarray) -> None:
    with pytest.raises(BadInput, match="image 1 "):
        judge.read([pictures(1)[0], image])


def truncate(folder: Path) -> None:
    path = folder / "heads.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_trunk_weights(folder: Path) -> None:
    (folder / "trunk" / "model.safetensors").unlink()


def pickle_instead(folder: Path) -> None:
    (folder / "trunk" / "model.safetensors").rename(folder / "trunk" / "pytorch_model.bin")


def drop_calibration(folder: Path) -> None:
    (folder / "calibration.json").unlink()


def add_finding(folder: Path) -> None:
    facts = json.loads((folder / "judge.json").read_text())
    (folder / "judge.json").write_text(json.dumps({**facts, "findings": [*facts["findings"], "Mass"]}))


def zero_temperature(folder: Path) -> None:
    facts = json.loads((folder / "calibration.json").read_text())
    facts["temperatures"]["child"] = 0
    (folder / "calibration.json").write_text(json.dumps(facts))


def lose_a_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "heads.safetensors")
    weights.pop("heads.bias")
    save_file(weights, folder / "heads.safetensors")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (truncate, "not a whole judge"),
        (drop_trunk_weights, "trunk holds no weights"),
        (pickle_instead, "is a pickle"),
        (drop_calibration, "calibration.json is not readable"),
        (add_finding, "not a whole judge"),
        (zero_temperature, "calibration.json is no calibration"),
        (lose_a_head, "heads.safetensors lacks heads.bias"),
    ],
)
def test_a_damaged_folder_is_named(toy_judge: Path, tmp_path: Path, damage: Callable[[Path], None], named: str) -> None:
    folder = shutil.copytree(toy_judge, tmp_path / "broken")
    damage(folder)
    with pytest.raises(BadInput, match="broken") as error:
        load_judge(folder, device="cpu")
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_none_and_a_device_that_is_not_there(toy_judge: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no judge in it"):
        load_judge(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"judge\.json"):
        load_judge(tmp_path)
    with pytest.raises(EnvironmentLacks, match="cuda:77"):
        load_judge(toy_judge, device="cuda:77")


def test_identity_is_that_of_the_weights_and_the_calibration(toy_judge: Path, tmp_path: Path, judge: Judge) -> None:
    folder = shutil.copytree(toy_judge, tmp_path / "other name")
    (folder / "README.md").write_text("another card")
    assert load_judge(folder, device="cpu").fingerprint == judge.fingerprint
    facts = json.loads((folder / "calibration.json").read_text())
    facts["temperatures"]["child"] *= 2
    (folder / "calibration.json").write_text(json.dumps(facts))
    assert load_judge(folder, device="cpu").fingerprint != judge.fingerprint
    assert read_calibration(folder / "calibration.json") != judge.calibration


def test_readings_without_an_answer_become_none() -> None:
    nothing = np.full(1, np.nan, np.float32)
    one = np.ones((1, 1), np.float32)
    seen = Readings(("Mass",), one, one, nothing, nothing, nothing, nothing, (), one[:, :0], nothing).judgement(0)
    assert (seen.female, seen.ap, seen.child, seen.age, seen.artefact) == (None,) * 5
    assert dict(seen.findings) == {"Mass": 1.0}
    assert dict(seen.quality) == {}
