"""The reference index: nearest rows against brute force, thresholds, what its file holds and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.data.split import split_rows
from gen.judge.judge import load_judge
from gen.judge.reference import build_reference, index_of, read_reference, write_reference


def rows(count: int) -> list[Row]:
    return [Row(file=Path(f"{i}.png"), file_name=f"{i}.png", patient_id=f"person-{i // 2}") for i in range(count)]


def vectors(count: int, seed: int, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_the_nearest_row_is_the_nearest_and_8_bits_cost_little() -> None:
    known, asked = vectors(300, 0), vectors(50, 1)
    reference = index_of(known, rows(300), vectors(9, 2), "judge")
    distances, places = reference.nearest(asked, block=7)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asked, known)]
    exact = 1 - unit[0] @ unit[1].T
    np.testing.assert_allclose(distances, exact.min(1), atol=0.01)
    np.testing.assert_allclose(exact[np.arange(50), places], exact.min(1), atol=0.01)


def test_every_indexed_image_finds_itself_whatever_the_length_of_its_embedding() -> None:
    known = vectors(300, 0)
    reference = index_of(known, rows(300), vectors(9, 2), "judge")
    distances, places = reference.nearest(known * 17)
    np.testing.assert_array_equal(places, np.arange(300))
    assert distances.max() < 1e-3


def test_of_new_others_no_more_are_below_the_threshold_than_it_says() -> None:
    # Also where few others set it, when their own quantile would let twice as many through.
    known, share = vectors(300, 0), 0.05
    below = []
    for draw in range(200):
        others = vectors(40, 10 + draw)
        reference = index_of(known, rows(300), others[:30], "judge")
        below.append((reference.nearest(others[30:])[0] < reference.threshold(share)).mean())
    assert np.mean(below) < share + 2 * np.std(below) / np.sqrt(len(below))


def test_the_file_gives_back_the_index_and_names_nobody(tmp_path: Path) -> None:
    reference = index_of(vectors(300, 0), rows(300), vectors(9, 2), "judge")
    write_reference(tmp_path / "r.safetensors", reference)
    again = read_reference(tmp_path / "r.safetensors")
    for name, value in vars(reference).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    data = (tmp_path / "r.safetensors").read_bytes()
    assert b"person" not in data
    assert b".png" not in data
    assert len(data) < 300 * (64 + 16) + 1000
    assert len(set(reference.images.tolist())) == 300
    assert len(set(reference.patients.tolist())) == 150
    assert not set(reference.images.tolist()) & set(
        index_of(vectors(9, 0), rows(9), vectors(9, 2), "other").images.tolist()
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=r"r\.safetensors is no reference index"):
        read_reference(tmp_path / "r.safetensors")


def test_the_judges_own_index_finds_training_images_and_refuses_shared_patients(
    toy_judge: Path, toy_data: Path
) -> None:
    judge = load_judge(toy_judge, device="cpu")
    splits = split_rows(read_manifest(toy_data))
    assert judge.reference is not None
    assert judge.reference.key == judge.fingerprint
    assert len(judge.reference.codes) == len(splits["train"])
    assert len(judge.reference.held_out) == len(splits["validation"]) + len(splits["test"])
    again = build_reference(judge, splits["train"], splits["test"])
    np.testing.assert_array_equal(again.codes, judge.reference.codes)
    with pytest.raises(BadInput, match="is among the indexed and the held-out"):
        build_reference(judge, splits["train"], splits["train"][:1])
    with pytest.raises(BadInput, match="needs images"):
        build_reference(judge, [], splits["test"])
