"""Other projectors, each served by a process of their own environment: a request is a JSON line, and so is an answer.

The environment, which the benchmarks look for at `.venv-peers` (`uv venv` makes git ignore it), is made once by

    uv venv --python 3.11 .venv-peers
    uv pip install --python .venv-peers torch==2.13.0 numpy==2.4.6 itk-rtk==2.7.0.post1 nanodrr==0.1.7
    uv pip install --python .venv-peers --no-deps diffdrr==0.6.1

(a CPU build of torch will do; DiffDRR's renderers need none of the packages that its wheel asks for, its file readers
do). ``python benchmarks/drr/peers.py NAME`` serves NAME: rtk, nanodrr, diffdrr-trilinear or diffdrr-siddon.
The first line holds the volume, each line after it one exposure; the answer has the seconds of the projection alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Projector = Callable[..., np.ndarray]
# The wheel of each peer.
PACKAGES = {"rtk": "itk-rtk", "nanodrr": "nanodrr", "diffdrr-trilinear": "diffdrr", "diffdrr-siddon": "diffdrr"}
RAYS = 1 << 15  # that the torch peers trace at a time: all at once, 512 x 512 of them would fill 2 GB


def _rays(geometry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The source (3,) and the pixels (H W, 3) of an exposure, in mm."""
    rows, columns = (np.arange(n, dtype=np.float64)[:, None] for n in geometry["shape"])
    corner, row, column = (np.asarray(geometry[key]) for key in ("corner_mm", "row_mm", "column_mm"))
    pixels = corner + (rows * row)[:, None] + (columns * column)[None]
    return np.asarray(geometry["source_mm"]), pixels.reshape(-1, 3)


def serve_rtk(volume: dict[str, Any]) -> Projector:
    """RTK's Joseph filter on the array as it lies in memory: its fastest layout, float32, 16 work units.

    RTK turns about its second axis, and a beam along that axis has no angles; so the patient's (x, y, z) is put at
    RTK's (x, z, -y) by the direction of the image, and no voxel is moved.
    """
    import itk
    from itk import RTK as rtk

    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
    image = itk.image_view_from_array(np.load(volume["path"]).astype(np.float32) / 1000)
    image.SetSpacing([float(step) for step in volume["spacing_mm"][::-1]])
    image.SetOrigin((turn @ volume["origin_mm"]).tolist())
    image.SetDirection(itk.matrix_from_array(turn @ np.asarray(volume["direction"])))
    kind = type(image)

    def project(geometry: dict[str, Any]) -> np.ndarray:
        poses = rtk.ThreeDCircularProjectionGeometry.New()
        source, corner, row, column = (
            turn @ geometry[key] for key in ("source_mm", "corner_mm", "row_mm", "column_mm")
        )
        pitch = np.linalg.norm(column), np.linalg.norm(row)
        # RTK's "row vector" runs along a row of pixels: it is the step from a column to the next.
        added = poses.AddProjection(
            itk.Point[itk.D, 3](source.tolist()),
            itk.Point[itk.D, 3](corner.tolist()),
            itk.Vector[itk.D, 3]((column / pitch[0]).tolist()),
            itk.Vector[itk.D, 3]((row / pitch[1]).tolist()),
        )
        if not added:
            raise ValueError("RTK refuses the pose")
        blank = itk.image_view_from_array(np.zeros((1, *geometry["shape"]), np.float32))
        blank.SetSpacing([*map(float, pitch), 1.0])
        joseph = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
        joseph.SetInput(0, blank)
        joseph.SetInput(1, image)
        joseph.SetGeometry(poses)
        joseph.SetNumberOfWorkUnits(16)
        joseph.Update()
        return np.asarray(itk.array_from_image(joseph.GetOutput()))[0]

    return project


def serve_nanodrr(volume: dict[str, Any]) -> Projector:
    """nanodrr's ``render`` in torch, a band of rows at a time; its own step from HU to attenuation is left out."""
    import torch
    from nanodrr.data import Subject
    from nanodrr.drr.renderer import render

    to_mm = _index_to_mm(volume)
    data = torch.from_numpy(np.load(volume["path"]).astype(np.float32) / 1000)[None, None]
    grid = Subject._make_voxel_to_grid(data.shape)
    matrices = [torch.from_numpy(matrix.astype(np.float32)) for matrix in (to_mm, np.linalg.inv(to_mm))]
    label = torch.zeros(1, 1, 1, 1, 1)
    subject = Subject(data, label, *matrices, grid, torch.zeros(3), max_label=0, convert_to_mu=False)
    pose = torch.eye(4)[None]  # the rays are given in the patient's frame, so the camera stands at its origin

    def project(geometry: dict[str, Any], n_samples: int) -> np.ndarray:
        height, width = geometry["shape"]
        source, pixels = (torch.from_numpy(points.astype(np.float32)) for points in _rays(geometry))
        band = max(1, RAYS // width)
        parts = []
        with torch.inference_mode():
            for start in range(0, height, band):
                rows = min(band, height - start)
                targets = pixels[start * width : (start + rows) * width][None]
                rest = {"n_samples": n_samples, "src": source[None, None], "tgt": targets, "backend": "torch"}
                parts.append(render(subject, torch.eye(3)[None], pose, torch.ones(1), rows, width, **rest)[0, 0])
        return torch.cat(parts).numpy()

    return project


def serve_diffdrr(volume: dict[str, Any], siddon: bool) -> Projector:
    """DiffDRR's renderer modules, patch by patch as its ``patch_size`` does; its densities (min-max) are left out."""
    import torch
    from diffdrr.renderers import Siddon, Trilinear

    to_index = np.linalg.inv(_index_to_mm(volume))
    data = torch.from_numpy(np.load(volume["path"]).astype(np.float32).T / 1000)
    renderer = Siddon() if siddon else Trilinear()

    def project(geometry: dict[str, Any], n_samples: int | None = None) -> np.ndarray:
        source, pixels = _rays(geometry)
        lengths = torch.from_numpy(np.linalg.norm(pixels - source, axis=1).astype(np.float32))
        start, ends = (
            torch.from_numpy((points @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.float32))
            for points in (source[None], pixels)
        )
        # Siddon sorts the crossings of all planes and holds their points, thrice as many as the samples of the other.
        rays, options = (RAYS // 4, {}) if siddon else (RAYS, {"n_points": n_samples})
        parts = []
        with torch.inference_mode():
            for first in range(0, len(ends), rays):
                chosen = slice(first, first + rays)
                parts.append(renderer(data, start[None], ends[None, chosen], lengths[None, None, chosen], **options))
        return torch.cat([part.flatten() for part in parts]).reshape(geometry["shape"]).numpy()

    return project


def _index_to_mm(volume: dict[str, Any]) -> np.ndarray:
    """(4, 4) from an index in order x, y, z to mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(volume["direction"]) * np.asarray(volume["spacing_mm"])[::-1]
    matrix[:3, 3] = volume["origin_mm"]
    return matrix


def serve(name: str, volume: dict[str, Any]) -> Projector:
    """The projector of the peer ``name``."""
    if name == "rtk":
        return serve_rtk(volume)
    if name == "nanodrr":
        return serve_nanodrr(volume)
    return serve_diffdrr(volume, siddon=name == "diffdrr-siddon")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    name = sys.argv[1]
    for number, line in enumerate(sys.stdin):
        try:
            request = json.loads(line)
            if number == 0:
                project = serve(name, request)
                reply: dict[str, Any] = {"version": version(PACKAGES[name])}
            else:
                start = time.perf_counter()
                image = project(request["geometry"], **request["options"])
                reply = {"seconds": time.perf_counter() - start}
                if request["save"]:
                    np.save(request["save"], image.astype(np.float32))
        except Exception as error:  # the benchmark goes on without this peer and says why
            reply = {"error": f"{type(error).__name__}: {error}"}
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        reply["peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) / 1024  # getrusage's includes the parent's
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
