"""What a benchmark of faults needs: a toy data set job, run in processes of its own, and what it leaves compared.

All runs use one folder, for its place stands in the files. Images and the card's picture are made once and kept, for
they are no matter of files; only the workers of Ray make their own. What disturbs the runs is not here.
"""

from __future__ import annotations

import io
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gen.core.errors import GenError

LIMIT_S = 300  # of one run; what takes longer hangs
RERUNS = 4  # after which a job that is not done never will be


@dataclass(frozen=True)
class Child:
    """A forked process, and the pipe through which it says how it ended."""

    pid: int
    pipe: int


@dataclass(frozen=True)
class Toy:
    """A job of some ``rows``, the files that it leaves undisturbed, and how long it takes."""

    rows: int
    wanted: dict[str, bytes]
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Where all jobs run, for it stands in their files; the two toys, and what the random moments come from."""

    out: Path
    few: Toy
    many: Toy
    chance: random.Random
    every: int


@dataclass
class Tally:
    """What came of one kind of fault."""

    fault: str
    tried: int = 0
    whole: int = 0  # complete and identical in the end
    stopped: int = 0  # disturbed runs that ended with an error, one line each
    wrong: list[str] = field(default_factory=list)

    def add(self, said: Sequence[str], problems: Sequence[str], *, faults: int = 1, what: str = "") -> None:
        """Count a job with its ``faults``: what its runs ``said``, and what is wrong in the end."""
        odd = [line for line in said if line.startswith("not foreseen") or "\n" in line]
        self.tried += faults
        self.whole += 0 if problems or odd else faults
        self.stopped += sum(line.startswith("stopped") for line in said)
        if problems or odd:
            self.wrong.append(f"{self.fault} {what}: {'; '.join([*odd, *problems])}")
            print(self.wrong[-1], file=sys.stderr, flush=True)


# One run


def make(out: Path, rows: int, part: tuple[int, int] = (1, 1), **options: Any) -> None:
    """The job in ``out``, in this process."""
    from augment.dataset.config import FORMATS, DatasetConfig, Gates, Target
    from augment.dataset.job import Slice, make_dataset

    target = Target(sex=["F"], age=[], view=["AP"], finding=["No Finding", "Pleural Effusion"])
    config = DatasetConfig(
        str(out), rows, target, Gates(names=[]), steps=1, size=64, shard_size=2, formats=list(FORMATS), threads=1,
        device="cpu", dtype="float32",
    )  # fmt: skip
    make_dataset(config, part=Slice(*part), quiet=True, **options)


def start(action: Callable[..., object], *arguments: Any, **options: Any) -> Child:
    """Fork a process that does ``action`` and says how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "ended"
        for handle in (1, 2):  # Ray writes to both, whatever it is told
            os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
        try:
            action(*arguments, **options)
        except (GenError, OSError) as error:  # of which `gen` makes one line
            said = f"stopped: {error}"
        except BaseException as error:
            said = f"not foreseen: {type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode()[:4000])
            os._exit(0)
    os.close(writing)
    return Child(pid, reading)


def end(child: Child) -> str:
    """Wait for ``child``: "ended", "killed", or why it stopped. One that hangs is killed, and said to."""
    ready, _, _ = select.select([child.pipe], [], [], LIMIT_S)
    if not ready:
        os.kill(child.pid, signal.SIGKILL)
    said = os.read(child.pipe, 4000).decode()  # not to its end: what the child leaves behind may hold it
    os.close(child.pipe)
    os.waitpid(child.pid, 0)
    return said or ("killed" if ready else "not foreseen: it hung")


def run(action: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """Do ``action`` in a forked process, and how it ended."""
    return end(start(action, *arguments, **options))


def over(child: Child) -> bool:
    """Whether ``child`` has said how it ended, or is dead."""
    return bool(select.select([child.pipe], [], [], 0)[0])


def content(out: Path) -> dict[str, bytes]:
    """Every file below ``out`` but those of run/, by name."""
    names = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("run/")}


def differences(out: Path, toy: Toy) -> list[str]:
    """What ``out`` has otherwise than undisturbed, and what `verify_dataset` says."""
    from augment.dataset.verify import verify_dataset

    found = content(out)
    problems = []
    for name in sorted(found.keys() | toy.wanted.keys()):
        if found.get(name) != toy.wanted.get(name):
            how = "missing" if name not in found else "too much" if name not in toy.wanted else "different"
            problems.append(f"{name} is {how}")
    return problems + verify_dataset(out)


def again(out: Path, toy: Toy) -> list[str]:
    """Run the job undisturbed until it is done, remove it, and what was wrong with it."""
    last = ""
    for _ in range(RERUNS):
        last = run(make, out, toy.rows)
        if last == "ended":
            break
    problems = differences(out, toy) if last == "ended" else [f"it never ends: {last}"]
    shutil.rmtree(out, ignore_errors=True)  # which may be a file system of its own
    return problems


def toy_of(out: Path, rows: int) -> Toy:
    """The toy job undisturbed: once here, so that what it makes is kept, and once as all others run."""
    make(out, rows)
    wanted = content(out)
    shutil.rmtree(out)
    started = time.monotonic()
    said = run(make, out, rows)
    toy = Toy(rows, wanted, time.monotonic() - started)
    problems = again(out, toy)
    if said != "ended" or problems:
        raise GenError(f"two undisturbed runs differ: {'; '.join([said, *problems])}")
    return toy


def keep_what_is_made() -> None:
    """Make each image and picture once: a function of its row and seed, or of its counts; and hash the model once."""
    from augment.dataset import executors, job
    from augment.dataset.card import charts
    from augment.dataset.sources import inputs_of, open_source

    images: dict[Any, Any] = {}
    pictures: dict[str, bytes] = {}
    identities: list[dict[str, str]] = []  # one: all jobs have the same model
    draw = charts.draw_balance

    def kept(sources: Any, rows: Sequence[Any], seeds: Sequence[int]) -> Iterator[Any]:
        for row, seed in zip(rows, seeds, strict=True):
            if (row.id, seed) not in images:
                images[row.id, seed] = next(sources.make([row], [seed]))
            yield images[row.id, seed]

    def save(cells: Any, gates: Any, stream: io.BytesIO, **options: Any) -> None:
        if (key := repr((cells, gates))) not in pictures:
            draw(cells, gates).savefig(once := io.BytesIO(), **options)
            pictures[key] = once.getvalue()
        stream.write(pictures[key])

    def opened(config: Any) -> Any:
        return SimpleNamespace(make=partial(kept, open_source(config)))

    def drawn(cells: Any, gates: Any = ()) -> Any:
        return SimpleNamespace(savefig=partial(save, cells, gates))

    def identity(config: Any) -> dict[str, str]:
        if not identities:
            identities.append(inputs_of(config))
        return identities[0]

    vars(job).update(inputs_of=identity)
    vars(executors).update(open_source=opened)
    vars(charts).update(draw_balance=drawn)


def hold_the_day() -> None:
    """The day that a set was begun stands in it, and midnight is no fault."""
    gmtime, now = time.gmtime, time.time()
    time.gmtime = lambda seconds=None: gmtime(now if seconds is None else seconds)
