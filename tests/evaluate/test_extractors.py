"""Extractors see what they say they see; embeddings are cached by content; torch-fidelity computes with the same."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.evaluate import extractors
from gen.evaluate.extractors import EXTRACTORS, Extractor, embed, extractor_of, judge_extractor, register
from gen.judge.readings import AnyJudge, Readings, blank

FIXED = ("texture", "layout", "random")


def chests(count: int, seed: int = 0, size: int = 128) -> np.ndarray:
    """uint8 (count, size, size): smooth noise, whose spectrum falls as a radiograph's does."""
    from scipy.ndimage import gaussian_filter

    rough = np.random.default_rng(seed).standard_normal((count, size, size))
    smooth = sum(2**k * gaussian_filter(rough, (0, 2**k, 2**k), mode="wrap") for k in range(6))
    return np.rint(255 / (1 + np.exp(-np.asarray(smooth)))).astype(np.uint8)


def counted(name: str) -> tuple[Extractor, list[int]]:
    """A cheap extractor, and how many images it was asked for at each call."""
    asked: list[int] = []

    def extract(pixels_u8: np.ndarray) -> np.ndarray:
        asked.append(len(pixels_u8))
        return pixels_u8.reshape(len(pixels_u8), -1)[:, :5].astype(np.float32)

    return Extractor(name, name, "", extract), asked


@pytest.mark.parametrize("spec", FIXED)
def test_an_embedding_is_of_its_image_alone_whatever_the_batch(spec: str, tmp_path: Path) -> None:
    pixels_u8 = chests(extractors.BATCH + 3)
    together = embed(pixels_u8, spec, tmp_path / "a")
    assert (together.dtype, together.shape[0]) == (np.float32, len(pixels_u8))
    for index in (0, len(pixels_u8) - 1):
        [alone] = embed(pixels_u8[index : index + 1], spec, tmp_path / f"{index}")
        np.testing.assert_allclose(alone, together[index], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(embed(pixels_u8[::-1], spec, tmp_path / "a"), together[::-1])


@pytest.mark.parametrize("spec", FIXED)
def test_identical_one_level_other_and_noise_lie_in_that_order(spec: str, tmp_path: Path) -> None:
    pixels_u8 = chests(24).clip(1, 254)
    nudged = (pixels_u8.astype(int) + np.random.default_rng(1).choice([-1, 1], pixels_u8.shape)).astype(np.uint8)
    noise = np.random.default_rng(2).integers(0, 256, pixels_u8.shape).astype(np.uint8)
    own = embed(pixels_u8, spec, tmp_path)
    others = (pixels_u8, nudged, np.roll(pixels_u8, 1, 0), noise)
    far = [float(np.median(np.linalg.norm(own - embed(other, spec, tmp_path), axis=1))) for other in others]
    assert far[0] == 0
    assert far[1] < far[2] / 2
    if spec != "layout":  # to which noise is a flat grey
        assert far[2] < far[3]


def test_each_is_blind_to_what_its_note_says(tmp_path: Path) -> None:
    pixels_u8 = chests(8)
    fine = np.tile(np.asarray([[4, -4], [-4, 4]]), (64, 64))  # of mean 0 in every block
    detail = (pixels_u8.clip(4, 251) + fine).astype(np.uint8)
    np.testing.assert_allclose(extractors.layout(detail), extractors.layout(pixels_u8.clip(4, 251)), atol=1e-4)
    darker, brighter = (np.clip(pixels_u8, 20, 235).astype(int) + shift for shift in (-20, 20))
    np.testing.assert_allclose(
        extractors.texture(darker.astype(np.uint8)), extractors.texture(brighter.astype(np.uint8)), atol=2e-3
    )
    assert np.ptp(extractors.layout(np.stack([darker[0], brighter[0]]).astype(np.uint8))[:, 0]) > 1


def test_layout_is_the_cosine_transform_of_block_means() -> None:
    pixels_u8 = chests(2)
    means = pixels_u8.reshape(2, 16, 8, 16, 8).mean((2, 4)) / 255 - 0.5
    k, i = np.indices((16, 16))
    basis = np.cos(np.pi * k * (2 * i + 1) / 32) * np.where(k == 0, 16**-0.5, 8**-0.5)
    waves = basis @ means @ basis.T
    chosen = [(u, v) for u in range(8) for v in range(8) if u + v < 8]
    np.testing.assert_allclose(extractors.layout(pixels_u8), [[w[uv] for uv in chosen] for w in waves], atol=1e-5)


def test_only_what_the_cache_lacks_is_computed_and_by_content(tmp_path: Path) -> None:
    extractor, asked = counted("counted")
    pixels_u8 = chests(6)
    first = embed(pixels_u8[:4], extractor, tmp_path)
    second = embed(pixels_u8[[5, 2, 0, 4]], extractor, tmp_path)
    assert asked == [4, 2]
    np.testing.assert_array_equal(second[1:3], first[[2, 0]])
    changed = pixels_u8[:4].copy()
    changed[1, 0, 0] ^= 1
    embed(changed, extractor, tmp_path)
    another, also = counted("another")
    embed(
        pixels_u8, dataclasses.replace(another, name=extractor.name), tmp_path
    )  # as of a judge that was trained again
    assert (asked, also) == ([4, 2, 1], [6])


def test_an_interrupted_embedding_goes_on_where_it_stopped(tmp_path: Path) -> None:
    extractor, asked = counted("counted")
    pixels_u8 = chests(extractors.BATCH + 4)

    def stops(some: np.ndarray) -> np.ndarray:
        if len(asked) == 1:
            raise KeyboardInterrupt
        return extractor.extract(some)

    with pytest.raises(KeyboardInterrupt):
        embed(pixels_u8, Extractor("counted", "counted", "", stops), tmp_path)
    embed(pixels_u8, extractor, tmp_path)
    assert asked == [extractors.BATCH, 4]


def test_numbers_that_are_not_finite_are_refused_and_not_kept(tmp_path: Path) -> None:
    """A distance to them is smaller than no threshold, so copies would pass."""
    broken = Extractor("broken", "broken", "", lambda some: np.full((len(some), 3), np.nan, np.float32))
    with pytest.raises(BadInput, match="broken gives numbers that are not finite"):
        embed(chests(2), broken, tmp_path)
    mended = dataclasses.replace(broken, extract=lambda some: np.ones((len(some), 3), np.float32))
    assert (embed(chests(2), mended, tmp_path) == 1).all()


class Images(torch.utils.data.Dataset[Any]):
    """Grey levels as torch-fidelity wants them: uint8 (3, S, S)."""

    def __init__(self, pixels_u8: np.ndarray) -> None:
        self.pixels_u8 = pixels_u8

    def __len__(self) -> int:
        return len(self.pixels_u8)

    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(self.pixels_u8[index]).expand(3, -1, -1)


def test_torch_fidelity_with_a_registered_extractor_reports_our_figures(tmp_path: Path) -> None:
    import torch_fidelity

    from gen.evaluate.fidelity import compare

    sets = chests(40, 1), chests(40, 2)
    ours = compare(
        *[part for pixels_u8 in sets for part in (embed(pixels_u8, "layout", tmp_path), [*map(str, range(40))])]
    )
    name = register(extractor_of("layout"))
    assert register(extractor_of("layout")) == name
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(sets[1]),
        input2=Images(sets[0]),
        feature_extractor=name,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=1,
        kid_subset_size=40,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no loader workers
        verbose=False,
    )
    assert ours.fid.value == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3)
    assert ours.kid.value == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-3)
    assert (ours.precision.value, ours.recall.value) == pytest.approx((theirs["precision"], theirs["recall"]))


@dataclass(frozen=True)
class CornerJudge(AnyJudge):
    """Embeds an image by four of its pixels."""

    name: str = "corner"
    fingerprint: str = "0"
    findings: tuple[str, ...] = ()

    def read(self, pixels: Any, *, on_images: Any = None) -> Readings:
        return blank(len(pixels), np.asarray([image[0, :4] for image in pixels], np.float32) + 1)


def test_a_judges_embedding_has_mean_square_one_and_its_hash_for_identity() -> None:
    extractor = judge_extractor(CornerJudge())
    np.testing.assert_allclose(np.square(extractor.extract(chests(3))).mean(1), 1, rtol=1e-5)
    assert judge_extractor(CornerJudge(fingerprint="1")).fingerprint != extractor.fingerprint


@pytest.mark.parametrize("spec", ["", "Texture", "texture:here", "nothing"])
def test_an_unknown_extractor_is_bad_input_that_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(BadInput, match="there are " + ", ".join(EXTRACTORS)):
        extractor_of(spec)


def test_inception_without_its_weights_says_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match=f"{tmp_path}.*weights-inception"):
        extractor_of("inception")


@pytest.mark.parametrize(
    "pixels_u8", [np.zeros((2, 128, 128)), np.zeros((2, 128, 64), np.uint8), np.zeros((2, 100, 100), np.uint8)]
)
def test_levels_of_another_kind_are_bad_input(pixels_u8: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="extractors take uint8"):
        embed(pixels_u8, "texture", tmp_path)


def test_a_cache_that_is_no_data_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "embeddings.sqlite").write_bytes(b"no data base" * 99)
    with pytest.raises(GenError, match=r"embeddings\.sqlite: file is not a database; .*delete it"):
        embed(chests(1), "layout", tmp_path)
