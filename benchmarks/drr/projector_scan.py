"""What the projector benchmarks share: a thorax of eleven ellipsoids with its exact line integrals, and the peers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import common
from drr.geometry import Geometry, View, place
from drr.phantom.shapes import Ellipsoid
from drr.projector import pick_backend
from gen.core.errors import EnvironmentLacks, GenError

SHAPE, SPACING_MM = (320, 512, 512), (1.0, 0.7, 0.7)
ORIGIN_MM = (-178.85, -178.85, -159.5)  # the grid is centred at 0
FINE = 6  # sub-voxels a side in voxels that a surface cuts

python_option = click.option(
    "--python",
    type=click.Path(path_type=Path),
    default=Path(".venv-peers/bin/python"),
    show_default=True,
    help="Python of the peers' environment; benchmarks/drr/peers.py says how it is made.",
)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a projector gets: ``numbers`` (HU + 1000, int16 (z, y, x)) on a grid; ``path`` is the same in an .npy."""

    name: str
    numbers: np.ndarray
    spacing_mm: tuple[float, float, float]
    direction: np.ndarray
    origin_mm: tuple[float, float, float]
    path: Path

    @property
    def centre_mm(self) -> np.ndarray:
        """The middle of the grid, in patient coordinates."""
        half = (np.asarray(self.numbers.shape[::-1]) - 1) / 2 * self.spacing_mm[::-1]
        return np.asarray(self.origin_mm + self.direction @ half)

    def view(self, primary_deg: float, secondary_deg: float, sod_mm: float, pixels: int) -> Geometry:
        """A pose about the middle of the grid, SDD 1800 mm, on a detector 430 mm wide."""
        view = View(f"{primary_deg:g}/{secondary_deg:g}", primary_deg, secondary_deg, 1800, sod_mm)
        return place(view, self.centre_mm, pixels)


def _turned(degrees: float, axis: int) -> np.ndarray:
    """The rotation about a coordinate axis."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix, angle = np.eye(3), np.deg2rad(degrees)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one], matrix[one, other] = np.sin(angle), -np.sin(angle)
    return matrix


# What each ellipsoid adds to the number of a point inside it: overlaps add up, so that the chords do too.
THORAX: tuple[tuple[float, Ellipsoid], ...] = (
    (1000, Ellipsoid((0, 0, 0), (165, 108, 150))),  # body
    (-740, Ellipsoid((-72, -5, 10), (56, 78, 112), _turned(6, 1))),  # right lung
    (-740, Ellipsoid((74, -2, 12), (54, 76, 108), _turned(-6, 1))),  # left lung
    (700, Ellipsoid((45, -28, -35), (30, 34, 42), _turned(35, 1))),  # heart, in the left lung
    (500, Ellipsoid((0, 78, 0), (17, 20, 130))),  # spine
    (350, Ellipsoid((0, -92, 20), (14, 6, 60), _turned(5, 0))),  # sternum
    (60, Ellipsoid((10, 52, 20), (11, 12, 100))),  # aorta
    (60, Ellipsoid((-60, -10, -118), (62, 55, 24))),  # liver
    (800, Ellipsoid((-100, 20, 40), (45, 5, 7), _turned(-50, 2))),  # a rib on the right
    (800, Ellipsoid((100, 20, -20), (45, 5, 7), _turned(50, 2))),  # a rib on the left
    (740, Ellipsoid((-80, 10, 50), (9, 7, 8))),  # nodule
)


def exact_path(geometry: Geometry) -> np.ndarray:
    """Water-equivalent mm through the thorax, in closed form: float64 (H, W)."""
    pixels = geometry.pixels_mm()
    return sum(added / 1000 * solid.chord_mm(geometry.source_mm, pixels) for added, solid in THORAX)


def thorax() -> Scan:
    """The thorax in voxels, each the mean of 6 x 6 x 6 points where a surface passes; kept in outputs/."""
    path = common.WORK / "thorax.npy"
    if not path.exists():
        print("filling the voxels of the thorax", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.zeros(SHAPE, np.float32)
        for added, solid in THORAX:
            _fill(numbers, added, solid)
        np.save(path, np.rint(numbers).astype(np.int16))
    return Scan("thorax phantom", np.load(path), SPACING_MM, np.eye(3), ORIGIN_MM, path)


def _fill(numbers: np.ndarray, added: float, solid: Ellipsoid) -> None:
    """Add one ellipsoid to the voxels, slice by slice."""
    spacing, origin = np.asarray(SPACING_MM[::-1]), np.asarray(ORIGIN_MM)
    low, high = solid.bounds_mm()
    start = np.floor((low - origin) / spacing).astype(int)
    stop = np.ceil((high - origin) / spacing).astype(int) + 1
    # |p| of the unit ball changes by at most this much from a voxel's centre to its corner.
    reach = np.linalg.norm(spacing) / 2 / min(solid.semi_axes_mm)
    offsets = (np.arange(FINE) + 0.5) / FINE - 0.5
    points = np.stack(np.meshgrid(*[offsets] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    x, y, z = (origin[i] + spacing[i] * np.arange(start[i], stop[i]) for i in range(3))
    for index, height in zip(range(start[2], stop[2]), z, strict=True):
        radius = np.sqrt(solid.level(x[None], y[:, None], height) + 1)
        filled = (radius <= 1).astype(np.float32)
        rows, columns = np.nonzero(np.abs(radius - 1) <= reach)
        centres = np.stack([x[columns], y[rows], np.full(len(rows), height)], -1)
        filled[rows, columns] = solid.contains(centres[:, None] + points).mean(1)
        numbers[index, start[1] : stop[1], start[0] : stop[0]] += added * filled


class Peer:
    """One other projector in a process of its own, which has read ``scan`` once this returns."""

    def __init__(self, python: Path, name: str, scan: Scan) -> None:
        self.name = name
        if not python.exists():
            raise GenError(f"{name}: no environment at {python}", hint="benchmarks/drr/peers.py says how it is made")
        command = [str(python), str(Path(__file__).with_name("peers.py")), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        grid = {"spacing_mm": scan.spacing_mm, "direction": scan.direction.tolist(), "origin_mm": scan.origin_mm}
        self.peak_mb = 0.0
        self.version = str(self._ask({"path": str(scan.path), **grid})["version"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def project(self, geometry: Geometry, save: Path | None = None, **options: Any) -> float:
        """Seconds that one exposure takes in the peer, its image written to ``save``; GenError where it fails."""
        pose = {key: getattr(geometry, key).tolist() for key in ("source_mm", "corner_mm", "row_mm", "column_mm")}
        request = {"geometry": pose | {"shape": geometry.shape}, "options": options, "save": save and str(save)}
        return float(self._ask(request)["seconds"])

    def image(self, geometry: Geometry, **options: Any) -> np.ndarray:
        """The image of one exposure: float32 (H, W)."""
        path = common.WORK / f"peer-{self.name}.npy"
        self.project(geometry, path, **options)
        image = np.load(path)
        path.unlink()
        return np.asarray(image)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in reply:
            raise GenError(f"{self.name}: {reply['error']}")
        self.peak_mb = reply["peak_mb"]
        return reply


def available_backends() -> tuple[list[str], list[str]]:
    """Our back ends that run here, the fastest first, and a line about the one that does not."""
    try:
        return [pick_backend("c"), "numba"], []
    except EnvironmentLacks as error:
        return ["numba"], [f"not run: {error}"]


def start_peers(python: Path, names: Sequence[str], scan: Scan) -> tuple[list[Peer], list[str]]:
    """The peers that are there, each with ``scan`` in memory, and a line about each that is not."""
    peers, absent = [], []
    for name in names:
        try:
            peers.append(Peer(python, name, scan))
        except GenError as error:
            absent.append(f"not run: {error}")
    return peers, absent


def errors_percent(image: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """How far ``image`` is off where the thorax is, in per cent of its mean there."""
    inside = exact > 0
    mean = exact[inside].mean()
    off = (image[inside] - exact[inside]) / mean * 100
    size = np.abs(off)
    return {
        "rms": float(np.sqrt(np.mean(off**2))),
        "mean abs": float(size.mean()),
        "p99": float(np.percentile(size, 99)),
        "max": float(size.max()),
        "bias": float(off.mean()),
    }
