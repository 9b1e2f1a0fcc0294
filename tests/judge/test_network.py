"""The network: patches are seen alone, images do not mix, views of an image attract, unknown labels weigh nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from gen.data.loader import Augmentation
from gen.judge.framings import Framings
from gen.judge.network import JudgeNetwork, JudgeShape, contrast, patch_side, raw_scores, texture_branch
from gen.judge.train import loss_terms, two_views
from gen.model.training.losses import masked_cross_entropy

TOY = JudgeShape(stem=4, hidden_sizes=[8, 8], depths=[1, 1], embedding=8, quality=4, texture=[4, 4])


@pytest.mark.parametrize("widths", [[4], [4, 4], [3, 4, 5]])
def test_one_output_of_the_texture_branch_sees_one_patch(widths: list[int]) -> None:
    torch.manual_seed(0)
    side = patch_side(widths)
    branch = texture_branch(widths).eval()
    for module in branch:
        if isinstance(module, torch.nn.Conv2d):  # all above 0, so that no rectifier hides a pixel
            torch.nn.init.uniform_(module.weight, 0.01, 0.1)
    image = torch.rand(1, 1, side + 24, side + 24, requires_grad=True)
    outputs = branch(image)
    outputs[0, 0, 0, 0].backward()
    assert image.grad is not None
    rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
    assert (int(rows.max()) + 1, int(columns.max()) + 1) == (side, side)
    assert branch(torch.rand(1, 1, side, side)).shape == (1, 1, 1, 1)


def test_what_is_seen_in_an_image_does_not_depend_on_its_company() -> None:
    torch.manual_seed(0)
    network = JudgeNetwork(TOY, ["Mass"])
    pixels_u8 = np.random.default_rng(0).integers(0, 256, (7, 32, 32), np.uint8)
    whole, alone = raw_scores(network, pixels_u8), raw_scores(network, pixels_u8, batch_size=1)
    for name, values in whole.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-4, atol=1e-5)
        assert len(values) == 7
    np.testing.assert_allclose(np.linalg.norm(whole["embedding"], axis=1), 1, atol=1e-5)
    assert network.training  # as it was before


def test_the_trunk_never_sees_a_crop_and_the_texture_branch_never_an_image() -> None:
    """So no forgery can reach the findings or the embedding."""
    torch.manual_seed(0)
    network = JudgeNetwork(TOY, ["Mass"])
    outputs = network(torch.rand(4, 1, 32, 32), torch.rand(2, 1, 24, 24))
    outputs["artefact"].mean().backward()
    touched = {name.partition(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert touched == {"texture"}


def test_contrast_is_the_formula_and_lowest_for_partners() -> None:
    torch.manual_seed(0)
    first, second = functional.normalize(torch.randn(2, 5, 8), dim=-1)
    views, t = torch.cat([first, second]).double(), 0.2
    expected = []
    for i in range(10):
        similar = torch.exp(views @ views[i] / t)
        expected.append(-torch.log(similar[(i + 5) % 10] / (similar.sum() - similar[i])))
    got = contrast(first.double(), second.double(), torch.arange(5), t)
    assert float(got) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-6)
    assert contrast(first, first, torch.arange(5), t) < contrast(first, first.roll(1, 0), torch.arange(5), t)


def test_images_of_one_patient_are_not_pushed_apart() -> None:
    """With the same patient twice, the loss is what it would be without each other's views among the others."""
    first = functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(contrast(first, first, torch.tensor([3, 3]), 0.1)) == pytest.approx(0, abs=1e-6)
    assert float(contrast(first, first, torch.tensor([3, 4]), 0.1)) > 0


def test_a_batch_of_which_damage_left_no_image_has_no_contrast_and_a_gradient() -> None:
    none = torch.empty(0, 8, requires_grad=True)
    loss = contrast(none, none, torch.empty(0, dtype=torch.long), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0


def test_unknown_labels_weigh_nothing() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[1.0, 0, 1]] * 3 + [[float("nan")] * 3] * 3)
    loss = masked_cross_entropy(logits, targets)
    assert float(loss.detach()) == pytest.approx(
        float(functional.binary_cross_entropy_with_logits(logits[:3], targets[:3]).detach()), rel=1e-6
    )
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[3:] == 0).all()
    assert float(masked_cross_entropy(logits.detach(), targets * float("nan"))) == 0


def test_every_head_is_taught_by_its_own_labels_only() -> None:
    torch.manual_seed(0)
    network = JudgeNetwork(TOY, ["Mass"]).eval().requires_grad_(False)
    images = torch.rand(2, 1, 32, 32)
    unknown = {"binary": np.full((2, 4), np.nan, np.float32), "age": np.full(2, np.nan, np.float32)}
    unknown["quality"] = np.full((2, 3), np.nan, np.float32)
    base = {name: float(term) for name, term in loss_terms(network(images), unknown, 1).items()}
    assert all(base[name] == 0 for name in ("findings", "sex", "view", "child", "age", "quality"))
    places = {"findings": ("binary", 0), "sex": ("binary", 1), "view": ("binary", 2), "child": ("binary", 3)}
    for name, (key, column) in {**places, "age": ("age", None), "quality": ("quality", 0)}.items():
        known = {each: values.copy() for each, values in unknown.items()}
        known[key][0 if column is None else (0, column)] = 1
        terms = {each: float(term) for each, term in loss_terms(network(images), known, 1).items()}
        assert {each for each in terms if terms[each] != base[each]} == {name}


def test_two_views_are_decided_by_their_places_and_are_no_mirror_images() -> None:
    how = Augmentation(turn_degrees=3.0, zoom=0.04, shift=0.02, log_gamma=0.15)
    down, across = np.mgrid[:48, :48]
    image = (((down - 20) ** 2 + (across - 10) ** 2 < 60) * 150 + across + down).astype(np.uint8)
    images = Framings(np.stack([image] * 6), np.empty((0, 48, 48), np.uint8), np.full(6, -1))
    views, quality, same = two_views(images, range(6), range(6), 0, how)
    turned, quality_again, same_again = two_views(images, range(6), [5, 4, 3, 2, 1, 0], 0, how)
    np.testing.assert_array_equal(views[:6].flip(0).numpy(), turned[:6].numpy())
    np.testing.assert_array_equal(views[6:].flip(0).numpy(), turned[6:].numpy())
    np.testing.assert_array_equal(quality[6:][::-1], quality_again[6:])
    np.testing.assert_array_equal(same[::-1], same_again)
    assert (quality[:6] == 1).all()
    for view in views[:6, 0].numpy():
        straight, mirrored = (np.corrcoef(view.ravel(), other.ravel())[0, 1] for other in (image, image[:, ::-1]))
        assert straight > mirrored + 0.3
