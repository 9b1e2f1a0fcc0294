"""How fast projections are beside RTK's Joseph, nanodrr and DiffDRR on the CPU, and beside one reading of the volume.

All sides take turns, so that a machine that slows down slows all of them, and ratios are medians over the rounds of the
quotient within a round; a fast side runs three times in a round, and the median counts. RTK has its best layout:
float32, the array as it lies in memory, 16 work units. The torch peers get the fewest samples a ray with an rms error
of at most 1.05 times RTK's. SDD 1800 mm, SOD 1600 mm (1500 mm where the view
is turned: a CT with its table is deeper then), 43 cm detector. Wants a machine with nothing else to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks import common
from benchmarks.drr.projector_scan import (
    Peer,
    Scan,
    available_backends,
    errors_percent,
    exact_path,
    python_option,
    start_peers,
    thorax,
)
from drr.backends.plan import plan_projection
from drr.backends.tiles import Stack
from drr.geometry import Geometry
from drr.projector import prepare, project

Side = Callable[[], float]
Seconds = dict[str, list[float]]

# Name, primary and secondary angle in degrees, SOD in mm.
VIEWS = (
    ("PA", 0, 0, 1600),
    ("turned 15, tilted 10", 15, 10, 1500),
    ("tilted 20", 0, 20, 1500),
    ("oblique 45", 45, 0, 1500),
    ("lateral", 90, 0, 1500),
)
RTK, ONE_READER, TWO_READERS = "rtk", "reading it, 1 thread", "reading it, 2 threads"
SAMPLES = (128, 192, 256, 320, 384, 448, 512, 640, 768, 1024)  # a ray
EQUAL = 1.05

# What a user waits for at the first view after installing, at the first view of another day, and later on.
FRESH = """
import sys, time
start = time.perf_counter()
from pathlib import Path
import numpy as np
from drr.geometry import VIEWS, place
from drr.projector import prepare, project
imported = time.perf_counter()
def peak():  # of this process: what getrusage says includes the parent's
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
before = peak()
numbers = np.load(sys.argv[1])
loaded = time.perf_counter()
stack = prepare(numbers, (1.0, 0.7, 0.7), None, (-178.85, -178.85, -159.5))
seconds = [imported - start, time.perf_counter() - loaded]
for _ in range(2):
    start = time.perf_counter()
    project([stack], place(VIEWS["PA"], np.zeros(3), 1024), backend=sys.argv[2])
    seconds.append(time.perf_counter() - start)
print(*seconds, (peak() - before) / numbers.nbytes)
"""


def thrice(work: Callable[[], object]) -> float:
    """Seconds of the median one of three calls."""
    return median(common.timed(work)[0] for _ in range(3))


def alternate(sides: dict[str, Side], rounds: int) -> Seconds:
    """What each of ``sides`` measures, round by round."""
    measured = [{name: side() for name, side in sides.items()} for _ in range(rounds)]
    return {name: [of[name] for of in measured] for name in sides}


def over(seconds: Seconds, slow: str, fast: str) -> float:
    """How many times as long ``slow`` takes: the median over the rounds."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def readers(numbers: np.ndarray) -> dict[str, Side]:
    """One streaming read of ``numbers`` by one thread and by two."""
    from numba import njit

    @njit(nogil=True)
    def total(words: np.ndarray) -> int:
        found = 0
        for word in words:
            found += word
        return found

    words = numbers.reshape(-1)[: numbers.size // 4 * 4].view(np.int64)
    pool = ThreadPoolExecutor(2)

    def read(parts: list[np.ndarray]) -> None:
        list(pool.map(total, parts))

    return {
        name: partial(thrice, partial(read, np.array_split(words, threads)))
        for name, threads in ((ONE_READER, 1), (TWO_READERS, 2))
    }


def own_sides(stacks: Sequence[Stack], geometry: Geometry, backends: Sequence[str]) -> dict[str, Side]:
    """Each of our back ends."""
    return {name: partial(thrice, partial(project, stacks, geometry, backend=name)) for name in backends}


def read_bytes(stack: Stack, geometry: Geometry) -> int:
    """Bytes of packed numbers, or sums of slabs of them, that one view goes through."""
    plan = plan_projection(stack.grid, geometry)
    return stack.tiles(plan.axis, stack.group(plan.group)).nbytes


def view_rows(
    scan: Scan, stack: Stack, peers: Sequence[Peer], backends: Sequence[str], sizes: Sequence[int], rounds: int
) -> tuple[list[list[str]], dict[str, Seconds]]:
    """Table rows and seconds of all `VIEWS` of one scan: RTK where it runs, our back ends, the readers."""
    rows, figures = [], {}
    limits = readers(scan.numbers)
    for (view, *pose), size in [(view, size) for view in VIEWS for size in sizes]:
        geometry = scan.view(*pose, size)
        sides = {peer.name: partial(peer.project, geometry) for peer in peers if peer.name == RTK}
        sides |= own_sides([stack], geometry, backends) | limits
        alternate(sides, 1)  # what is done once for a view does not count
        seconds = figures[f"{view}, {size}"] = alternate(sides, rounds)
        must = read_bytes(stack, geometry)
        for name, of in seconds.items():
            row = [view, size, name, f"{min(of) * 1e3:.1f}", f"{median(of) * 1e3:.1f}"]
            row.append(f"{over(seconds, RTK, name):.1f}" if RTK in seconds else "")
            if name in backends:
                least = must / scan.numbers.nbytes
                row += [f"{must / 1e6:.0f}", f"{over(seconds, name, TWO_READERS) / least:.1f}"]
                row.append(f"{over(seconds, name, TWO_READERS):.2f}")
            elif name in limits:
                row += [f"{scan.numbers.nbytes / 1e6:.0f}", f"{scan.numbers.nbytes / min(of) / 1e9:.1f} GB/s", ""]
            else:
                row += ["", "", ""]
            rows.append(row)
    return rows, figures


def equal_samples(peer: Peer, geometry: Geometry, wanted: float) -> tuple[dict[str, int], float]:
    """The fewest samples a ray, as options of ``peer``, with an rms error of at most ``wanted``, and that error."""
    exact = exact_path(geometry)
    if peer.name == "diffdrr-siddon":  # it takes no samples but crosses every voxel
        return {}, errors_percent(peer.image(geometry), exact)["rms"]
    for count in SAMPLES:
        options = {"n_samples": count}
        rms = errors_percent(peer.image(geometry, **options), exact)["rms"]
        if rms <= wanted:
            break
    return options, rms


def torch_rows(
    scan: Scan, stack: Stack, peers: Sequence[Peer], backends: Sequence[str], size: int, rounds: int
) -> tuple[list[list[str]], Seconds]:
    """Table rows and seconds of the torch peers beside RTK and ours: the PA view of the phantom."""
    geometry = scan.view(0, 0, 1600, size)
    exact = exact_path(geometry)
    errors = {name: errors_percent(project([stack], geometry, backend=name)[0], exact)["rms"] for name in backends}
    wanted, sides = EQUAL * min(errors.values()), {}
    settings: dict[str, Any] = {}
    for peer in peers:
        if peer.name == RTK:
            errors[RTK] = errors_percent(peer.image(geometry), exact)["rms"]
            wanted = EQUAL * errors[RTK]
        else:
            settings[peer.name], errors[peer.name] = equal_samples(peer, geometry, wanted)
        sides[peer.name] = partial(peer.project, geometry, **settings.get(peer.name, {}))
    seconds = alternate(sides | own_sides([stack], geometry, backends), rounds)
    memory = {peer.name: f"{peer.peak_mb:.0f}" for peer in peers}
    rows = []
    for name, of in seconds.items():
        row = [size, name, settings.get(name, {}).get("n_samples", ""), f"{errors[name]:.3f}"]
        ratios = [f"{over(seconds, name, own):.1f}" for own in backends]
        rows.append([*row, f"{min(of) * 1e3:.0f}", f"{median(of) * 1e3:.0f}", *ratios, memory.get(name, "")])
    return rows, seconds


def read_ct(path: Path) -> tuple[Scan, Any]:
    """A CT as the projectors get it, table and all, and as it was read."""
    from drr.reader import read_volume

    volume = read_volume(path)
    numbers = (np.maximum(volume.hu, -1000) + 1000).astype(np.int16)
    kept = common.WORK / f"{volume.name}.npy"
    np.save(kept, numbers)
    return Scan(volume.name, numbers, volume.spacing_mm, volume.direction, volume.origin_mm, kept), volume


def materials(
    volume: Any, scan: Scan, backends: Sequence[str], sizes: Sequence[int], rounds: int
) -> dict[str, Seconds]:
    """One material (the total) and two (bone apart) of a CT, in turn; and, once, what finding them takes."""
    from drr.ct.body import find_body
    from drr.ct.tissue import separate

    start = time.perf_counter()
    body = find_body(volume)
    found = time.perf_counter()
    shares = separate(volume, body)
    parted = time.perf_counter()
    print(f"\n{scan.name}: finding the body {found - start:.2f} s, bone, iodine and metal {parted - found:.2f} s")
    total, bone = (
        prepare(part, scan.spacing_mm, scan.direction, scan.origin_mm) for part in (shares.total, shares.bone)
    )
    figures = {}
    for size in sizes:
        geometry = scan.view(0, 0, 1600, size)
        sides = {f"{name}, one": side for name, side in own_sides([total], geometry, backends).items()}
        sides |= {f"{name}, two": side for name, side in own_sides([total, bone], geometry, backends).items()}
        alternate(sides, 1)
        figures[f"{size}"] = alternate(sides, rounds)
    print("\nTwo materials over one, PA\n")
    common.print_table(
        ["", "size", "one, ms: median", "two, ms: median", "two / one"],
        [
            [
                name,
                size,
                *(f"{median(seconds[f'{name}, {count}']) * 1e3:.1f}" for count in ("one", "two")),
                f"{over(seconds, f'{name}, two', f'{name}, one'):.2f}",
            ]
            for size, seconds in figures.items()
            for name in backends
        ],
    )
    return figures


def print_prepare(scans: Sequence[Scan]) -> None:
    """What is done once a volume, and once for each direction of slabs and size of groups of them."""
    rows = []
    for scan in scans:
        grid = scan.spacing_mm, scan.direction, scan.origin_mm
        layout = median(common.timed(lambda: prepare(scan.numbers, *grid))[0] for _ in range(3))  # noqa: B023
        for view, *pose in VIEWS:
            stack, geometry = prepare(scan.numbers, *grid), scan.view(*pose, 512)
            first, later = (common.timed(lambda: project([stack], geometry))[0] for _ in range(2))  # noqa: B023
            memory = (scan.numbers.nbytes + stack.nbytes) / scan.numbers.nbytes
            rows.append([scan.name, view, f"{layout:.2f}", f"{first - later:.2f}", f"{memory:.2f}"])
    print("\nOnce for each volume: the layout, and the sums that a view like this asks for first\n")
    common.print_table(["volume", "view", "layout, s", "sums, s", "array and stack, times the array"], rows)


def print_fresh(scan: Scan, backends: Sequence[str]) -> None:
    """A process of its own with an empty cache of numba's, and another with the cache that it left."""
    rows = []
    for backend in backends:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("empty", "filled"):
                command = [sys.executable, "-c", FRESH, str(scan.path.resolve()), backend]
                environment = os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(Path.cwd())}
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    raise click.ClickException(f"{backend} in a fresh process: {done.stderr[-500:]}")
                *seconds, memory = map(float, done.stdout.split())
                rows.append([backend, state, *(f"{each:.2f}" for each in seconds), f"{memory:.2f}"])
    print("\nA fresh process, 1024 x 1024, PA; memory is the peak, array included, over the int16 array\n")
    common.print_table(["", "numba's cache", "import, s", "prepare, s", "first view, s", "later, s", "memory"], rows)


@click.command(help=__doc__)
@python_option
@click.option("--size", "sizes", type=click.IntRange(16), multiple=True, default=(512, 1024), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=8, show_default=True)
@click.option("--torch-rounds", type=click.IntRange(0), default=2, show_default=True, help="Of nanodrr and DiffDRR.")
@common.ct_option
@common.json_option
def main(
    python: Path, sizes: tuple[int, ...], rounds: int, torch_rounds: int, ct: Path, json_file: Path | None
) -> None:
    backends, notes = available_backends()
    scans: list[tuple[Scan, Any]] = [(thorax(), None)]
    if ct.exists():
        scans.append(read_ct(ct))
    else:
        notes.append(f"not run: no CT at {ct}")
    print(f"{common.processor()}; load before the start {os.getloadavg()[0]:.1f}")
    print_prepare([scan for scan, _ in scans])
    print_fresh(scans[0][0], backends)

    figures: dict[str, Any] = {"processor": common.processor()}
    for scan, volume in scans:
        shape = " x ".join(str(n) for n in reversed(scan.numbers.shape))
        stack = prepare(scan.numbers, scan.spacing_mm, scan.direction, scan.origin_mm)
        peers, absent = start_peers(python, [RTK], scan)
        print(f"\n{scan.name}, {shape}, {rounds} rounds\n")
        rows, figures[scan.name] = view_rows(scan, stack, peers, backends, sizes, rounds)
        header = [
            "view",
            "size",
            "",
            "ms: least",
            "median",
            "rtk / it",
            "MB read",
            "over reading them",
            "over reading all",
        ]
        common.print_table(header, rows)
        if volume is not None:
            figures["materials"] = materials(volume, scan, backends, sizes, rounds)
        for peer in peers:
            peer.close()
        notes += absent
    if torch_rounds:
        print(f"\nAt equal error (rms, % of the mean), phantom, PA, {torch_rounds} rounds\n")
        scan = scans[0][0]
        stack = prepare(scan.numbers, scan.spacing_mm, scan.direction, scan.origin_mm)
        peers, absent = start_peers(python, [RTK, "nanodrr", "diffdrr-trilinear", "diffdrr-siddon"], scan)
        rows = []
        for size in sizes:
            # Siddon's method takes minutes a view: at the first size only.
            chosen = [peer for peer in peers if size == sizes[0] or peer.name != "diffdrr-siddon"]
            more, figures[f"equal error, {size}"] = torch_rows(scan, stack, chosen, backends, size, torch_rounds)
            rows += more
        ratios = [f"it / {name}" for name in backends]
        common.print_table(
            ["size", "", "samples", "rms", "ms: least", "median", *ratios, "peak MB of its process"], rows
        )
        for peer in peers:
            peer.close()
        notes += absent
    print("\n".join(["", *dict.fromkeys(notes)]))
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
