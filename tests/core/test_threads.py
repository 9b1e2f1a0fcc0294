"""Threads follow what is free, and what was asked for comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core import threads


@given(able=st.integers(1, 256), load=st.floats(0, 500), quota=st.none() | st.integers(1, 64_000_000))
def test_between_one_and_what_may_be_used_less_what_is_busy(able: int, load: float, quota: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: set(range(able)), raising=False)
        patch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        text = "max 100000" if quota is None else f"{quota} 100000"
        patch.setattr(threads, "_CGROUP", type("File", (), {"read_text": lambda self, encoding: text})())
        free = threads.free_cores()
    most = able if quota is None else min(able, max(1, quota // 100_000))
    assert free == max(1, most - round(load))


@pytest.mark.parametrize(("given_", "told", "expected"), [(1, "2", "1"), (None, "2", "2"), (None, "1", "1")])
def test_the_option_comes_before_the_environment_and_both_before_torch_is_loaded(
    given_: int | None, told: str, expected: str
) -> None:
    code = (
        f"from gen.core.threads import use_threads; use_threads({given_}); import torch, os; "
        "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": told}
    environment.pop("OMP_WAIT_POLICY", None)
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert ended.stdout.split() == [expected, "PASSIVE"], ended.stderr
