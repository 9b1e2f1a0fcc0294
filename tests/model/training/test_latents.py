"""Latents: a linear encoder that is exact, and whitening that no reader of the folder can tell."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from gen.core.errors import BadInput
from gen.data.loader import Augmentation, to_model_range
from gen.model.training.latent_cache import (
    draw_latents,
    encode_grey,
    encoder_digest,
    held_out_distance,
    latent_cache,
    nearest_distance,
)
from gen.model.training.latents import (
    RAW_STD,
    as_blocks,
    freeze_linear_encoder,
    linear_encoder,
    linear_rebuild,
    moments,
    patch_pca,
    refit_patch_encoder,
    set_patch_encoder,
    shrink_factor,
    whiten,
    whiten_to,
)


def levels(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, uint8 (count, side, side)."""
    noise = np.random.default_rng(seed).standard_normal((count, side, side)).cumsum(1).cumsum(2)
    low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    return np.rint((noise - low) / (high - low) * 255).astype(np.uint8)


def tiny(patch: int, channels: int) -> AutoencoderTiny:
    stages = patch.bit_length()
    return AutoencoderTiny(
        in_channels=1,
        out_channels=1,
        latent_channels=channels,
        encoder_block_out_channels=(patch * patch,) * stages,
        decoder_block_out_channels=(8,) * stages,
        num_encoder_blocks=(0,) * stages,
        num_decoder_blocks=(1,) * stages,
    )


def kl(channels: int = 4, in_channels: int = 1) -> AutoencoderKL:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=in_channels,
        out_channels=in_channels,
        latent_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.18215,
    )
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize("patch", [4, 8])
def test_the_tiny_encoder_is_the_matrix_product_with_any_basis(patch: int) -> None:
    generator = np.random.default_rng(patch)
    channels, images = 6, levels(2, 32)
    basis = generator.standard_normal((channels, patch * patch))
    mean, std = generator.random(patch * patch), generator.random(channels) + 0.5
    vae = tiny(patch, channels)
    set_patch_encoder(vae, basis, mean, std)
    assert shrink_factor(vae) == patch
    with torch.no_grad():
        encoded, spread = moments(vae, to_model_range(images))
    blocks = as_blocks(images / 255, patch).reshape(2, 32 // patch, 32 // patch, -1)
    expected = (blocks - mean) @ basis.T / std * RAW_STD
    np.testing.assert_allclose(encoded.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5 * patch**2)
    assert spread is None
    assert vae.config.scaling_factor == 1 / RAW_STD


@pytest.mark.parametrize("patch", [4, 8])
def test_latents_of_the_images_that_gave_the_pca_are_white(patch: int) -> None:
    images = levels(60, 32)
    vae = tiny(patch, 5)
    set_patch_encoder(vae, *patch_pca(images, patch, 5))
    with torch.no_grad():
        latents = moments(vae, to_model_range(images))[0] * vae.config.scaling_factor
    flat = latents.permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(flat), torch.eye(5), atol=5e-3, rtol=0)


def test_patch_pca_is_an_orthonormal_basis_by_falling_spread_with_signs_that_never_change() -> None:
    basis, mean, std = patch_pca(levels(30, 32), 4, 16)
    np.testing.assert_allclose(basis @ basis.T, np.eye(16), atol=1e-9)
    assert (np.diff(std) <= 0).all()
    assert (basis.sum(1) > -1e-9).all()
    assert mean.shape == (16,)


@pytest.mark.parametrize("patch", [4, 8])
def test_rebuilding_from_all_components_is_the_identity_and_from_fewer_is_worse(patch: int) -> None:
    images = levels(40, 32)
    errors = []
    for channels in (1, 4, patch * patch):
        basis, mean, _ = patch_pca(images, patch, channels)
        errors.append(np.abs(linear_rebuild(images, basis, mean) - images / 255).mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_an_encoder_too_narrow_for_the_patch_is_refused() -> None:
    vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 3, num_encoder_blocks=(0,) * 3, in_channels=1)
    with pytest.raises(BadInput, match="8 channels cannot hold patches of 4 x 4"):
        set_patch_encoder(vae, np.eye(4, 16), np.zeros(16), np.ones(4))


def test_only_a_linear_encoder_is_frozen() -> None:
    linear, stock, large = tiny(4, 4), AutoencoderTiny(), kl().requires_grad_(True)
    assert freeze_linear_encoder(linear)
    assert not any(p.requires_grad for p in linear.encoder.parameters())
    assert all(p.requires_grad for p in linear.decoder.parameters())
    for other in (stock, large):
        assert not freeze_linear_encoder(other)
        assert all(p.requires_grad for p in other.parameters())


def test_whitening_moves_mean_and_deviation_and_the_decoder_cannot_tell() -> None:
    before, after = kl(), kl()
    images = to_model_range(levels(3, 16))
    mean, std = torch.tensor([0.5, -2, 0.1, 3]), torch.tensor([0.2, 1, 4, 0.7])
    whiten(after, mean, std)
    raw, spread = moments(before, images)
    white, white_spread = moments(after, images)
    column = (slice(None), None, None)
    torch.testing.assert_close(white, (raw - mean[column]) / std[column], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(white_spread, spread / std[column], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.decode(white).sample, before.decode(raw).sample, atol=1e-5, rtol=0)
    assert after.config.scaling_factor == 1.0


def test_whitening_to_images_makes_their_latents_white() -> None:
    vae, images = kl(), levels(40, 16)
    whiten_to(vae, images)
    mean, std = moments(vae, to_model_range(images))
    torch.testing.assert_close(mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    whole = mean.var((0, 2, 3)) + std.square().mean((0, 2, 3))
    torch.testing.assert_close(whole, torch.ones(4), atol=1e-3, rtol=0)


def test_whitening_leaves_a_tiny_autoencoder_and_refuses_one_without_the_convolutions() -> None:
    vae = tiny(4, 4)
    state = {key: value.clone() for key, value in vae.state_dict().items()}
    whiten_to(vae, levels(2, 16))
    assert all(torch.equal(value, state[key]) for key, value in vae.state_dict().items())
    with pytest.raises(BadInput, match="AutoencoderTiny has no quant_conv"):
        whiten(vae, torch.zeros(4), torch.ones(4))


def test_the_cache_holds_the_posterior_in_diffusion_range_with_the_image_itself_first(tmp_path: Path) -> None:
    vae, images = kl(), levels(6, 16)
    cache = latent_cache(vae, images, 3, Augmentation(), tmp_path)
    assert cache.shape == (6, 3, 2, 4, 8, 8)
    assert cache.dtype == np.float16
    mean, std = moments(vae, to_model_range(images))
    np.testing.assert_allclose(cache[:, 0, 0], mean * vae.config.scaling_factor, atol=2e-3)
    np.testing.assert_allclose(cache[:, 0, 1], std * vae.config.scaling_factor, atol=2e-3)
    assert np.abs(cache[:, 1, 0].astype(float) - cache[:, 0, 0]).max() > 1e-3
    assert np.abs(cache[:, 2, 0].astype(float) - cache[:, 1, 0]).max() > 1e-3


def test_the_cache_is_built_once_and_anew_for_another_encoder_but_not_for_another_decoder(tmp_path: Path) -> None:
    vae, images = kl(), levels(2, 16)
    latent_cache(vae, images, 1, Augmentation(), tmp_path)
    [first] = tmp_path.iterdir()
    stamp = first.stat().st_mtime_ns
    vae.decoder.conv_in.weight.add_(1)
    latent_cache(vae, images, 1, Augmentation(), tmp_path)
    assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == [stamp]
    vae.encoder.conv_in.weight.add_(1)
    latent_cache(vae, images, 1, Augmentation(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_draw_depends_on_its_own_seed_and_image_only(tmp_path: Path) -> None:
    cache = latent_cache(kl(), levels(3, 16), 2, Augmentation(), tmp_path)
    many = draw_latents(cache, [0, 1, 2], [5, 6, 7])
    alone = draw_latents(cache, [1], [6])
    for whole, one in zip(many, alone, strict=True):
        assert torch.equal(whole[1:2], one)
    assert not torch.equal(draw_latents(cache, [1], [8])[1], alone[1])


def test_a_draw_is_mean_plus_deviation_times_standard_noise() -> None:
    cache = np.zeros((1, 1, 2, 4, 16, 16), np.float16)
    cache[:, :, 0], cache[:, :, 1] = 3, 0.5
    clean, noise = draw_latents(cache, [0] * 64, range(64))
    assert float(clean.mean()) == pytest.approx(3, abs=0.01)
    assert float(clean.std()) == pytest.approx(0.5, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert abs(float(((clean - 3) * noise).mean())) < 0.01  # two draws, not one twice


def test_an_encoder_without_a_spread_gives_its_mean_and_takes_one_plane() -> None:
    cache = np.full((2, 3, 1, 4, 8, 8), 2.5, np.float16)
    clean, noise = draw_latents(cache, [1, 0], [3, 4])
    assert (clean == 2.5).all()
    assert not torch.equal(noise[0], noise[1])


def test_the_patch_encoder_as_one_convolution_gives_the_same_latents() -> None:
    vae = tiny(4, 4)
    images = levels(16, 16)
    set_patch_encoder(vae, *patch_pca(images, 4, 4), 0.5)
    encode = linear_encoder(vae)
    inputs = to_model_range(images)
    with torch.no_grad():
        torch.testing.assert_close(encode(inputs), vae.encode(inputs).latents, atol=1e-5, rtol=1e-5)
    assert linear_encoder(kl()) is None


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_whitening_sets_how_large_the_channels_are(whitening: float) -> None:
    vae, images = tiny(4, 4), levels(64, 16)
    basis, mean, std = patch_pca(images, 4, 4)
    set_patch_encoder(vae, basis, mean, std, whitening)
    with torch.no_grad():
        found = vae.encode(to_model_range(images)).latents.std((0, 2, 3)).numpy()
    np.testing.assert_allclose(found, RAW_STD * (std / std[0]) ** (1 - whitening), rtol=0.02)


def test_a_refitted_encoder_keeps_what_the_decoder_makes() -> None:
    vae, images = tiny(4, 4), levels(64, 16)
    set_patch_encoder(vae, *patch_pca(images, 4, 4), 1.0)
    # The same components, turned and scaled: the decoder is carried along exactly, but for its soft limit of latents.
    inputs = to_model_range(images) * 0.1
    with torch.no_grad():
        before = vae.decode(vae.encode(inputs).latents).sample
        refit_patch_encoder(vae, *patch_pca(images, 4, 4), 0.5)
        after = vae.decode(vae.encode(inputs).latents).sample
    middle = (..., slice(4, -4), slice(4, -4))  # at the rim the convolution meets zeros, which mean another grey now
    assert float((after - before)[middle].abs().max()) < 0.1 * float(before.std())


def test_nearest_distance_is_zero_for_a_copy_and_the_shift_for_a_shifted_one() -> None:
    cache = np.random.default_rng(0).standard_normal((20, 1, 2, 4, 8, 8)).astype(np.float16)
    copies = torch.from_numpy(cache[[3, 11], 0, 0].astype(np.float32))
    np.testing.assert_allclose(nearest_distance(copies, cache), 0, atol=1e-3)
    np.testing.assert_allclose(nearest_distance(copies + 0.1, cache), 0.1, atol=1e-3)


def test_an_encoder_is_told_by_its_weights_and_not_by_its_decoder() -> None:
    vae = kl()
    digest = encoder_digest(vae)
    vae.decoder.conv_in.weight.add_(1)
    assert encoder_digest(vae) == digest
    vae.quant_conv.bias.add_(1)
    assert encoder_digest(vae) != digest


def test_held_out_images_are_measured_after_the_autoencoder_smoothed_them(tmp_path: Path) -> None:
    vae, images = kl(), levels(12, 16)
    known, held_out = (latent_cache(vae, part, 1, Augmentation(), tmp_path) for part in (images[:8], images[8:]))
    raw = torch.from_numpy(held_out[:, 0, 0].astype(np.float32))
    rebuilt = encode_grey(vae, vae.decode(raw / vae.config.scaling_factor).sample.clamp(-1, 1).mean(1, keepdim=True))
    expected = np.median(nearest_distance(rebuilt, known))
    assert held_out_distance(vae, held_out, known, {}) == pytest.approx(expected, rel=1e-4)
    noisy = held_out_distance(vae, held_out, known, {"decoder_noise": [1.0] * len(raw[0])})
    assert abs(noisy - expected) > 1e-4
    assert abs(expected - np.median(nearest_distance(raw, known))) > 1e-3


def test_a_cache_in_several_blocks_has_the_name_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, images = tiny(4, 4), levels(300, 8)
    latent_cache(vae, images, 1, Augmentation(), tmp_path)
    [path] = tmp_path.iterdir()
    key = hashlib.sha256(images.tobytes())
    key.update(repr((encoder_digest(vae), float(vae.config.scaling_factor), 1, Augmentation())).encode())
    assert path.name == f"latents-{key.hexdigest()[:16]}.npy"
