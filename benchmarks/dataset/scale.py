"""For speed.py: the job over workers of Ray and over simulated nodes, one of which is lost; and, on paper, what
the measured costs leave room for with many more workers than there are here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.dataset.config import DatasetConfig
from augment.dataset.shards.folder import committed, entries, entry_path
from benchmarks import common
from gen.core.errors import GenError

if TYPE_CHECKING:
    from augment.dataset.generate import Work
    from augment.dataset.plan.plan import Plan

JOB = "job, no gates"  # a side of the overhead, and a step of the end, that count on paper too
DRIVEN = "read and count shards, as a driver does"
SHARDS = 12  # of the set that is made over and over
MOST_ROUNDS = 3
IN_FLIGHT = 1000  # receipts that the driver waits for at a time
LISTED = 10_000  # shards of the set that is only listed
RATE = 20.0  # images a second of a GPU, assumed
BATCH, PASSING, TRIES = 8, (0.2, 0.75), 32  # rows that a GPU takes at once, pass rates of rows (even between), tries
CLUSTERS = ((10, 100), (100, 100), (1000, 100), (1000, 1000))  # GPUs, and rows of a shard

Times = list[float]  # seconds from the start to each committed shard


def steady(times: Sequence[float], workers: int, size: int) -> float:
    """Images a second once each of ``workers`` has its first shard, and so its model, behind it; NaN for too few."""
    after = len(times) - workers
    return after * size / (times[-1] - times[workers - 1]) if after > 0 else float("nan")


def scaling(place: Path, config: DatasetConfig, count: int, rounds: int) -> dict[str, Any]:
    """Images a second in this process and by 1 and 2 workers of Ray, in alternating rounds; what two nodes made of the
    same plan, whole and with one lost; what a receipt costs the driver, and the list of what is committed.

    GenError where any of them made other shards than this process did.
    """
    from augment.dataset.executors import open_worker, run_ray, run_serial
    from augment.dataset.generate import shard_count
    from augment.dataset.prepare import plan_job

    size = max(1, count // 4)
    config = replace(config, images=SHARDS * size, shard_size=size)
    plan = plan_job(config)
    shards = range(shard_count(plan, config))
    serial = run_serial(open_worker(_made(place / "serial"), config, plan, None), shards, lambda tries, rows: None)
    figures: dict[str, Any] = {"images": config.images, "shard_size": size}
    times = {"this process": [timed(serial)]}
    expected = digests(place / "serial")

    def check(folder: Path) -> None:
        if digests(folder) != expected:
            raise GenError(f"the shards of {folder.name} are not those of this process")

    for k in range(min(rounds, MOST_ROUNDS)):
        for workers in (1, 2) if k % 2 == 0 else (2, 1):
            out = _made(place / f"workers-{workers}-{k}")
            works = run_ray(out, config, plan, shards, workers=workers, address=None)
            times.setdefault(f"Ray, {workers} worker(s)", []).append(timed(works))
            check(out)
            print(f"Ray, {workers} worker(s): {times[f'Ray, {workers} worker(s)'][-1][-1]:.1f} s", flush=True)
    for name, lost in (("two nodes", 0), ("two nodes, one lost in the middle", len(shards) // 2)):
        out = _made(place / name.replace(" ", "-"))
        times[name] = [over_nodes(out, config, plan, shards, lost)]
        check(out)
        print(f"{name}: {times[name][0][-1]:.1f} s, the shards are the same", flush=True)
    figures["times"] = times
    figures["receipt_s"] = receipt_seconds()
    figures["listing_s"] = listing_seconds(place / "listed")
    return figures


def timed(works: Iterator[Work], then: Callable[[int], None] = lambda done: None) -> Times:
    """Seconds to each shard; ``then`` is called with the number of them after each."""
    start, times = time.perf_counter(), []
    for _ in works:
        times.append(time.perf_counter() - start)
        then(len(times))
    return times


def over_nodes(out: Path, config: DatasetConfig, plan: Plan, shards: Sequence[int], lost: int) -> Times:
    """A cluster of a head that works nothing and two nodes of one worker; after ``lost`` shards (0: never) one dies."""
    import ray
    from ray.cluster_utils import Cluster

    from augment.dataset.executors import run_ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=config.threads) for _ in range(2)]
        cluster.wait_for_nodes()

        def lose(done: int) -> None:
            if done == lost:
                cluster.remove_node(nodes[1], allow_graceful=False)

        return timed(run_ray(out, config, plan, shards, workers=None, address=cluster.address), lose)
    finally:
        ray.shutdown()
        cluster.shutdown()


def receipt_seconds(count: int = IN_FLIGHT) -> float:
    """Seconds that the driver needs to take a receipt and give out the next shard, with ``count`` under way."""
    import ray

    class Nothing:
        def make(self, shard: int) -> tuple[float, float]:
            return 0.0, 0.0

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        actor: Any = ray.remote(num_cpus=1)(Nothing).remote()
        ray.get(actor.make.remote(0))
        running = {actor.make.remote(shard): shard for shard in range(count)}
        start = time.perf_counter()
        for shard in range(count):
            [future], _ = ray.wait(list(running), num_returns=1)
            running.pop(future)
            ray.get(future)
            running[actor.make.remote(shard)] = shard
        return (time.perf_counter() - start) / count
    finally:
        ray.shutdown()


def listing_seconds(out: Path, count: int = LISTED) -> float:
    """Seconds to list the committed shards of a set, for each thousand of ``count`` (a multiple of 1,000)."""
    for shard in range(count):
        path = entry_path(out, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    start = time.perf_counter()
    found = len(committed(out))
    seconds = time.perf_counter() - start
    if found != count:
        raise GenError(f"{found} of {count} shards were listed")
    return seconds / (count / 1000)


def digests(out: Path) -> list[str]:
    """The hash of each committed shard, in order."""
    return [entry.sha256 for entry in entries(out)]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def tell_scaling(figures: Mapping[str, Any]) -> None:
    """Print the table of `scaling`."""
    print(f"\n{figures['images']} images in shards of {figures['shard_size']}, one thread a worker; medians\n")
    size = figures["shard_size"]
    rates = {}
    rows = []
    for name, runs in figures["times"].items():
        workers = 1 if "process" in name or "1 worker" in name else 2
        rates[name] = median(steady(times, workers, size) for times in runs)
        speed = "" if "lost" in name else f"{rates[name]:.3f}"
        rows.append([name, len(runs), f"{median(times[-1] for times in runs):.1f}", speed])
    common.print_table(["", "runs", "seconds with the start", "images/s once warm"], rows)
    print(
        f"\n2 workers : 1 worker {rates['Ray, 2 worker(s)'] / rates['Ray, 1 worker(s)']:.2f}; the same shards in all."
    )
    print(f"A receipt, {IN_FLIGHT} under way: {figures['receipt_s'] * 1000:.2f} ms of the driver.")
    print(f"Listing 1,000 committed shards: {figures['listing_s'] * 1000:.1f} ms.", flush=True)


# On paper


def growth(small: float, large: float, sizes: Sequence[int]) -> float:
    """Seconds of a further 1,000 images, from those of two sets of ``sizes``."""
    return (large - small) / (sizes[1] - sizes[0]) * 1000


def on_paper(gpus: int, size: int, costs: Mapping[str, float], rate: float = RATE) -> dict[str, float]:
    """The load that ``gpus`` of ``rate`` images a second put on what they share, with shards of ``size`` rows.

    ``costs``: "image", "entry" (bytes an image), "commit" and "driver" (seconds an image), "receipt" (seconds a shard),
    "listing" (seconds a thousand shards), "resume" and "finish" (seconds a thousand images). "gpus_a_driver" are those
    that keep the driver busy all the time. "an_hour" is of a set that takes one.
    """
    shards = gpus * rate / size
    images = gpus * rate * 3600
    busy = shards * costs["receipt"] + gpus * rate * costs["driver"]
    return {
        "shards_a_second": shards,
        "megabytes_a_second": gpus * rate * (costs["image"] + costs["entry"]) / 1e6,
        "driver_busy": busy,
        "gpus_a_driver": gpus / busy,
        "commit_share": costs["commit"] * rate / (1 + costs["commit"] * rate),
        "padding_share": padding(size),
        "seconds_a_shard": size / rate,
        "kilobytes_an_entry": size * costs["entry"] / 1000,
        "shards_an_hour": images / size,
        "gigabytes_of_entries_an_hour": images * costs["entry"] / 1e9,
        "seconds_to_list_an_hour": images / size / 1000 * costs["listing"],
        "hours_to_resume_an_hour": images / 1000 * costs["resume"] / 3600,
        "hours_to_finish_an_hour": images / 1000 * costs["finish"] / 3600,
    }


def padding(size: int, shards: int = 200) -> float:
    """The share of a GPU's work that is no row: the last tries of a shard of ``size`` rows do not fill its batches."""
    rng = np.random.default_rng(0)
    rates = rng.uniform(*PASSING, (shards, size))
    tries = np.minimum(rng.geometric(rates), TRIES)
    open_rows = (tries[:, None] > np.arange(TRIES)[:, None]).sum(-1)  # (shards, round)
    padded = -(-open_rows // BATCH) * BATCH
    return float(1 - open_rows.sum() / padded.sum())


def costs_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """What `on_paper` needs, from what was measured here; "finish" without further formats."""
    finish, ray, sides = figures["finish"], figures["ray"], figures["overhead"]
    small, large = (finish["seconds"][str(size)] for size in finish["sizes"])
    grown = {name: growth(small[name], large[name], finish["sizes"]) for name in small}
    files = ("index.parquet", "README.md", "croissant.json", "hash for _SUCCESS")
    commits = sides["seconds"][JOB]["commit"]
    return {
        "image": finish["bytes"]["data"],
        "entry": finish["bytes"]["manifest"],
        "commit": sum(commits) / len(commits) / sides["images"],
        "driver": grown[DRIVEN] / 1000,
        "receipt": ray["receipt_s"],
        "listing": ray["listing_s"],
        "resume": grown["what a resume looks at"],
        "finish": sum(grown[name] for name in files),
    }


def tell_paper(figures: Mapping[str, Any]) -> None:
    """Print what `on_paper` makes of the measured figures."""
    costs = costs_of(figures)
    columns = {f"{gpus:,} GPUs, shards of {size:,}": on_paper(gpus, size, costs) for gpus, size in CLUSTERS}
    print(f"\nOn paper, at {RATE:g} images/s a GPU, from {', '.join(f'{k} {v:.3g}' for k, v in costs.items())}\n")
    names = next(iter(columns.values()))
    rows = [[name.replace("_", " "), *(f"{column[name]:,.3g}" for column in columns.values())] for name in names]
    common.print_table(["", *columns], rows)
