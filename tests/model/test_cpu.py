"""The memory format that a CPU trains rightly in, and the training step that shows what it does not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from gen.judge.network import JudgeNetwork, JudgeShape
from gen.model.cpu import memory_format

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def error_on_avx2(channels: int, threads: int, before: str = "") -> float:
    """`gradient_error` in a child that has AVX2 at the most, after the statement ``before``; inf where it dies."""
    code = (
        "import sys, torch\n"
        "from gen.model import cpu\n"
        f"{before}\n"
        f"print(cpu.gradient_error(torch.device('cpu'), torch.float32, {channels}))"
    )
    few = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **few},
    )
    assert ended.returncode <= 0, ended.stderr
    return float(ended.stdout) if ended.returncode == 0 else float("inf")


@pytest.mark.parametrize(("channels", "threads"), [(4, 1), (4, 2), (16, 1)])
def test_gradients_are_right_without_avx512(channels: int, threads: int) -> None:
    assert error_on_avx2(channels, threads) < 1e-4


@pytest.mark.skipif(
    platform.machine() != "x86_64" or "v3.7.1" not in torch.__config__.show(), reason="the fault is of oneDNN 3.7.1"
)
def test_the_step_shows_the_fault_that_the_rule_avoids() -> None:
    assert error_on_avx2(4, 1, "cpu.memory_format = lambda *_: torch.channels_last") > 1e-3


@pytest.mark.parametrize(
    ("part", "safe"),
    [
        (nn.Conv2d(15, 8, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1, stride=(1, 3)), False),
        (nn.Conv2d(32, 32, 1, stride=2, groups=4), False),
        (nn.Conv2d(16, 8, 1, stride=2), True),
        (nn.Conv2d(7, 8, 1), True),
        (nn.Conv2d(7, 8, 3, stride=2), True),
        (JudgeNetwork(JudgeShape(stem=4, hidden_sizes=[8], depths=[1]), ["Pneumonia"]), False),
        (JudgeNetwork(JudgeShape(), ["Pneumonia"]), True),
    ],
)
def test_only_narrow_strided_pointwise_convolutions_are_kept_contiguous_and_only_on_a_cpu(
    part: nn.Module, safe: bool
) -> None:
    expected = torch.channels_last if safe else torch.contiguous_format
    assert memory_format(nn.Sequential(part), CPU) == expected
    assert memory_format(nn.Sequential(part), GPU) == torch.channels_last
