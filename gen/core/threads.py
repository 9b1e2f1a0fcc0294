"""How many CPU threads a command takes: as many as there are cores free for it, so that none waits for a busy one.

Threads of one sum wait for each other: beside a busy core, two take several times as long as one. Import no torch here:
its runtime reads what is set once, when it is loaded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of CPU in each period


def free_cores() -> int:
    """Cores that this process may use and that nothing else is busy on, 1 or more."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP.read_text(encoding="ascii").split()
        able = min(able, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no control group of version 2, or one without a limit
    busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return max(1, able - busy)


def use_threads(threads: int | None = None) -> int:
    """Let this process compute with so many threads (None: OMP_NUM_THREADS where it is set, else `free_cores`).

    A thread that waits sleeps instead of spinning. Call it before torch or numba is imported. Returns the number.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    number = threads or (int(told) if told.isdigit() and int(told) else free_cores())
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(number)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(number))
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(number)
    return number
