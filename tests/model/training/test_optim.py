"""Muon moves along every direction alike, and the loss table follows the loss at each noise level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gen.model.training import optim
from gen.model.training.optim import BINS, LossByNoise, Muon, orthogonal, split_weights


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000), st.floats(1e-4, 1e4))
def test_singular_values_are_brought_to_about_one(rows: int, columns: int, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    rank = min(rows, columns)
    values = torch.linspace(1, 0.2, rank)
    matrix = size * left[:, :rank] @ values.diag() @ right[:rank]
    found = torch.linalg.svdvals(orthogonal(matrix))
    assert 0.5 < float(found.min()) <= float(found.max()) < 1.35
    # The directions stay: what is made orthogonal is as near to the polar factor as its singular values are to 1.
    nearest = left[:, :rank] @ right[:rank]
    assert float((orthogonal(matrix) - nearest).norm() / nearest.norm()) < 0.5


def test_the_iterations_run_in_float32_where_the_processor_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    exact = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = exact @ exact.T
        exact = 3.4445 * exact + (-4.7750 * gram + 2.0315 * gram @ gram) @ exact
    errors = []
    for has in (False, True):
        monkeypatch.setattr(optim, "cpu_multiplies_bfloat16", lambda has=has: has)
        errors.append(float((orthogonal(matrix) - exact).abs().max()))
    assert errors[0] < 1e-5 < 1e-3 < errors[1] < 0.1


def test_an_update_does_not_depend_on_the_size_of_the_gradient() -> None:
    moved = []
    for size in (1.0, 1000.0):
        weight = nn.Parameter(torch.zeros(6, 4, 3, 3))
        weight.grad = size * torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=0.1).step()
        moved.append(weight.detach().clone())
    assert float((moved[0] - moved[1]).norm() / moved[0].norm()) < 0.1  # five iterations in bfloat16
    assert float(torch.linalg.matrix_norm(moved[0].flatten(1), 2)) == pytest.approx(0.1, rel=0.4)


def test_it_finds_the_minimum_of_a_quadratic() -> None:
    target = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    weight = nn.Parameter(torch.zeros(8, 5))
    optimizer = Muon([weight], lr=0.02, weight_decay=0)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    assert float((weight.detach() - target).norm() / target.norm()) < 0.05


def test_every_weight_goes_to_one_of_the_two() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3), nn.Embedding(3, 4))
    matrices, rest = split_weights(network, ("0.", "3."))
    assert [weight.shape for weight in matrices] == [(4, 4, 3, 3)]
    assert {id(w) for w in matrices} | {id(w) for w in rest} == {id(w) for w in network.parameters()}
    assert not {id(w) for w in matrices} & {id(w) for w in rest}


def test_the_table_of_losses_follows_each_bin_and_processes_may_share_the_work() -> None:
    table, halves = LossByNoise(1000), LossByNoise(1000)
    generator = torch.Generator().manual_seed(0)
    truth = torch.linspace(0.01, 2, BINS)
    for _ in range(400):
        timesteps = torch.randint(1000, (64,), generator=generator)
        losses = truth[timesteps * BINS // 1000]
        table.update(table.sums(timesteps, losses))
        halves.update(halves.sums(timesteps[:32], losses[:32]) + halves.sums(timesteps[32:], losses[32:]))
    torch.testing.assert_close(table.get_buffer("mean"), truth, rtol=0.05, atol=0.01)
    torch.testing.assert_close(table.get_buffer("mean"), halves.get_buffer("mean"))
    middle = torch.arange(BINS) * 1000 // BINS + 20
    assert torch.equal(table.weights(middle), 1 / table.get_buffer("mean"))
