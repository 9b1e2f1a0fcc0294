"""Whatever goes wrong, does the data set job end with the same files once the same command is run again?

A small job is disturbed, run again until it is done, and compared with the undisturbed folder: every file but those of
run/, hidden ones too, and `verify_dataset`. A fault after which the folder is another is listed, and an error.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks import common
from benchmarks.dataset.fault_bench import (
    Bench,
    Child,
    Tally,
    again,
    differences,
    end,
    hold_the_day,
    keep_what_is_made,
    make,
    over,
    run,
    start,
    toy_of,
)  # fmt: skip
from benchmarks.dataset.faulty_disk import MODES, FaultyDisk, worth_trying
from gen.core.errors import GenError

FEW, MANY = 4, 16  # rows, in shards of two
KILLS, WORKER_KILLS, DRIVER_KILLS, ROUNDS = 50, 6, 3, 6
YEARS_S = 10 * 365 * 86_400


# The faults


def operations(bench: Bench) -> Iterator[Tally]:
    """Each mode at each file operation of the job at which it is another case."""
    listed = bench.out.with_name("operations.txt")
    run(_make_on, FaultyDisk(bench.out), FEW, listed)
    shutil.rmtree(bench.out)
    kinds = [line.partition(" ") for line in listed.read_text(encoding="utf-8").splitlines()]
    for mode in MODES:
        tally = Tally(f"{mode}, at each operation")
        places = [at for at, (kind, _, _) in enumerate(kinds) if worth_trying(mode, kind)][:: bench.every]
        places += [len(kinds)] if mode.startswith("power loss") else []  # once all is done
        for at in places:
            out = bench.out
            said = run(_make_on, FaultyDisk(out, mode, at), FEW)
            where = " ".join(kinds[at][::2]) if at < len(kinds) else "the end"
            tally.add([said], again(out, bench.few), what=f"({at}: {where})")
        yield tally


def _make_on(disk: FaultyDisk, rows: int, listed: Path | None = None) -> None:
    disk.install()
    make(Path(disk.folder), rows)
    if disk.strikes_next():
        disk.power_off()
    if listed is not None:
        listed.write_text("\n".join(" ".join(each) for each in disk.operations), encoding="utf-8")


def kills(bench: Bench) -> Iterator[Tally]:
    """SIGKILL at random moments, of one job again and again until it is done before."""
    tally = Tally("SIGKILL of the process at random moments")
    while tally.tried < KILLS:
        out, said = bench.out, ["killed"]
        while said[-1] == "killed" and tally.tried + len(said) <= KILLS:
            child = start(make, out, MANY)
            time.sleep(bench.chance.uniform(0, bench.many.seconds))
            os.kill(child.pid, signal.SIGKILL)  # a zombie, where it was done before
            said.append(end(child))
        if deaths := said[1:].count("killed"):
            tally.add(said, again(out, bench.many), faults=deaths)
    yield tally


def ray(bench: Bench) -> Iterator[Tally]:
    """SIGKILL of one of two workers of Ray, and of the process that leads them: what it leaves must do no harm."""
    of_ray = {"executor": "ray", "workers": 2}
    tally = Tally("SIGKILL of a Ray worker at random moments")
    while tally.tried < WORKER_KILLS:
        out = bench.out
        child, hits = start(make, out, MANY, **of_ray), 0
        while hits < WORKER_KILLS - tally.tried and hits < 2 and (workers := _workers(child)):
            time.sleep(bench.chance.uniform(0, 8))
            alive = [worker for worker in workers if worker.is_running()]
            if alive and not over(child):
                bench.chance.choice(alive).kill()
                hits += 1
        said = [end(child)]
        problems = differences(out, bench.many) if said == ["ended"] else []
        problems += again(out, bench.many)
        if hits or problems:
            tally.add(said, problems, faults=max(1, hits))
    yield tally
    tally = Tally("SIGKILL of the process that leads Ray")
    while tally.tried < DRIVER_KILLS:
        out = bench.out
        child = start(make, out, MANY, **of_ray)
        _workers(child)
        time.sleep(bench.chance.uniform(0, 8))
        orphans = _family(child)
        os.kill(child.pid, signal.SIGKILL)
        said = [end(child), run(make, out, MANY)]  # at once, beside what is left
        _await(orphans)
        problems = again(out, bench.many)
        if said[0] == "killed" or problems:  # and not done before
            tally.add(said, problems)
    yield tally


def _family(child: Child) -> list[Any]:
    import psutil

    return list(psutil.Process(child.pid).children(recursive=True))


def _workers(child: Child) -> list[Any]:
    """The processes of the actors, once both are there; none where the job is over first."""
    import psutil

    while not over(child):
        found = []
        for process in _family(child):
            try:
                found += [process] if process.cmdline()[:1] and "_Maker" in process.cmdline()[0] else []
            except psutil.Error:
                continue
        if len(found) >= 2:
            return found
        time.sleep(0.05)
    return []


def _await(processes: Sequence[Any]) -> None:
    """Wait until orphans are gone, as Ray sees to; what stays is ended."""
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=60)
    for process in alive:
        process.kill()


def sisters(bench: Bench) -> Iterator[Tally]:
    """Several jobs on one folder at once: where one ends well, the folder is whole already."""
    for name, parts in {"two": [(1, 1)] * 2, "both halves and the whole": [(1, 2), (2, 2), (1, 1)]}.items():
        tally = Tally(f"jobs started at once on one folder: {name}")
        for _ in range(ROUNDS):
            out = bench.out
            children = []
            for part in parts:
                children.append(start(make, out, MANY, part))
                time.sleep(bench.chance.uniform(0, bench.many.seconds / 8))
            said = [end(child) for child in children]
            whole = any(said[k] == "ended" for k, part in enumerate(parts) if part == (1, 1))
            problems = differences(out, bench.many) if whole else ["none ended well"]
            tally.add(said, [*problems, *again(out, bench.many)])
        yield tally


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def _garble(path: Path) -> None:
    path.write_bytes(b'{"shard": ')


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a tar cut short": ("data/shard-00000{}.tar", _truncate),
    "a tar deleted": ("data/shard-00000{}.tar", Path.unlink),
    "an entry garbled": ("manifest/000/shard-00000{}.json", _garble),
    "an entry deleted": ("manifest/000/shard-00000{}.json", Path.unlink),
    "_SUCCESS garbled": ("_SUCCESS", _garble),
    "_SUCCESS deleted": ("_SUCCESS", Path.unlink),
    "all tars deleted": ("data", shutil.rmtree),
    "all entries deleted": ("manifest", shutil.rmtree),
    "run/ deleted": ("run", shutil.rmtree),
}


def damage(bench: Bench) -> Iterator[Tally]:
    """Of finished sets and of half-made ones, each shard in turn."""
    sources = {(1, 1): bench.out.with_name("finished"), (1, 2): bench.out.with_name("half")}
    for part, source in sources.items():
        run(make, bench.out, FEW, part)
        bench.out.rename(source)
    for fault, (name, harm) in DAMAGE.items():
        tally = Tally(f"{fault}, between runs")
        for source in sources.values():
            for path in sorted({source / name.format(shard) for shard in range(FEW // 2)}):
                if path.exists():
                    out = bench.out
                    shutil.copytree(source, out)
                    harm(out / path.relative_to(source))
                    tally.add([], again(out, bench.few), what=str(path.relative_to(source.parent)))
        yield tally
    tally = Tally("run/ deleted, again and again during a run")
    for _ in range(ROUNDS):
        out = bench.out
        child = start(make, out, MANY)
        while not over(child):
            time.sleep(bench.chance.uniform(0, bench.many.seconds / 5))
            shutil.rmtree(out / "run", ignore_errors=True)
        tally.add([end(child)], again(out, bench.many))
    yield tally


def clock(bench: Bench) -> Iterator[Tally]:
    """The clock, and the times of the files, jump by years each time that one looks."""
    tally = Tally("the clock jumps by years, both ways")
    for _ in range(ROUNDS):
        out, seed = bench.out, bench.chance.random()
        said = [run(make, out, MANY, (1, 4)), run(_jumping, seed, out, (2, 4)), run(_jumping, seed, out, (1, 1))]
        tally.add(said, [*differences(out, bench.many), *again(out, bench.many)])
    yield tally


def _jumping(seed: float, out: Path, part: tuple[int, int]) -> None:
    chance, now, gmtime = random.Random(seed), time.time, time.gmtime
    for path in out.rglob("*"):
        moment = now() + chance.uniform(-YEARS_S, YEARS_S)
        os.utime(path, (moment, moment))
    time.time = lambda: now() + chance.uniform(-YEARS_S, YEARS_S)
    time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
    make(out, MANY, part)


def disk(bench: Bench) -> Iterator[Tally]:
    """A file system of a few pages that really is full; needs the right to mount one."""
    tally = Tally("a disk that is really full, of any size")
    needed = sum(len(data) for data in bench.few.wanted.values()) // 1024
    for size in range(16, 2 * needed, max(4, 2 * needed // 20) * bench.every):
        bench.out.mkdir()
        try:
            if _mount(bench.out, f"size={size}k"):
                break
            said = [run(make, bench.out, FEW) for _ in range(2)]
            _mount(bench.out, "remount,size=64m")
            tally.add(said, again(bench.out, bench.few), what=f"({size} kB)")
        finally:
            subprocess.run(["umount", bench.out], capture_output=True, check=False)
            bench.out.rmdir()
    yield tally


def _mount(place: Path, options: str) -> int:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode if os.geteuid() == 0 else 1


FAULTS = {each.__name__: each for each in (operations, kills, ray, sisters, damage, clock, disk)}


@click.command()
@click.option("--only", type=click.Choice(list(FAULTS)), multiple=True, help="These faults alone; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random moments.")
@click.option("--every", type=click.IntRange(1), default=1, help="Each N-th operation only, for a rehearsal.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the jobs run [default: a temporary folder].")
@common.json_option
def main(only: tuple[str, ...], seed: int, every: int, folder: Path | None, json_file: Path | None) -> None:
    """Disturb a small data set job in every way, and count how often it ends complete and identical."""
    import torch

    from augment.dataset.executors import open_worker  # noqa: F401  all that a forked run would load

    torch.set_num_threads(1)
    hold_the_day()
    keep_what_is_made()
    started = time.monotonic()
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="dataset-faults-", dir=folder) as place:
        out = Path(place) / "set"
        toys = {rows: toy_of(out, rows) for rows in (FEW, MANY)}
        bench = Bench(out, toys[FEW], toys[MANY], random.Random(seed), every)
        for name in only or FAULTS:
            for tally in FAULTS[name](bench):
                tallies.append(tally)
                print(f"{tally.fault}: {tally.whole} of {tally.tried}", file=sys.stderr, flush=True)
    tried, whole, stopped = (sum(getattr(tally, name) for tally in tallies) for name in ("tried", "whole", "stopped"))
    rows = [[tally.fault, tally.tried or "not run", tally.whole, tally.stopped] for tally in tallies]
    common.print_table(
        ["fault", "tried", "complete and identical", "stopped with a line"], [*rows, ["in all", tried, whole, stopped]]
    )
    seconds = round(time.monotonic() - started)
    print(f"\n{seconds} s")
    common.save_json(
        json_file,
        {
            "seed": seed,
            "seconds": seconds,
            "tried": tried,
            "whole": whole,
            "faults": [asdict(tally) for tally in tallies],
        },
    )
    if whole != tried:
        raise GenError(f"{tried - whole} of {tried} faults led to another folder")


if __name__ == "__main__":
    common.launch(main)
