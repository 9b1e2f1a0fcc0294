"""`gen sample` beside the plain loop of diffusers' StableDiffusionPipeline: same folder, steps, guidance and machine.

(a) seconds an image once loaded, by OpenVINO and by torch, and how far their pictures agree; (b) the whole process
from a cold start to one image and to four, import time told apart; (c) `gen --help`.
The sides alternate, so that a machine that slows down slows both; medians. Wants a machine with nothing else to do.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks import common
from gen.core.radiograph import Radiograph
from gen.core.run import derived_seed

PROMPTS = (
    "63 year old female. AP view. Pleural effusion.",
    "45 year old male. PA view. No acute cardiopulmonary abnormality.",
    "50 year old male. PA view. Cardiomegaly.",
    "10 year old female. PA view. No acute cardiopulmonary abnormality.",
)
# What a user of diffusers would write; kept to what is needed for the same image.
STOCK_SCRIPT = """
import sys
import torch
from diffusers import StableDiffusionPipeline

folder, prompt, steps, guidance, out, *seeds = sys.argv[1:]
pipeline = StableDiffusionPipeline.from_pretrained(folder)
pipeline.set_progress_bar_config(disable=True)
settings = {"num_inference_steps": int(steps), "guidance_scale": float(guidance)}
for seed in seeds:
    image = pipeline(prompt, generator=torch.Generator().manual_seed(int(seed)), **settings).images[0]
    image.save(f"{out}-{seed}.png")
"""


def import_seconds(report: str) -> float:
    """All time spent in imports, by the `self` column (microseconds) of what ``python -X importtime`` wrote."""
    return sum(int(own) for own in re.findall(r"^import time:\s+(\d+) \|", report, re.MULTILINE)) / 1e6


def loaded(folder: Path, steps: int, guidance: float, repeats: int) -> dict[str, list[float]]:
    """(a): seconds an image of four, once both are loaded and warm."""
    import torch
    from diffusers import StableDiffusionPipeline

    from gen.model.sampling.pipeline import describe, load_pipeline, sample

    own = {name: load_pipeline(folder, device="cpu", backend=name) for name in ("openvino", "torch")}
    for each in own.values():
        print(describe(each), flush=True)
    stock = StableDiffusionPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    seeds = [derived_seed(0, k) for k in range(len(PROMPTS))]

    def plain(prompts: Sequence[str], numbers: Sequence[int]) -> Any:
        generators = [torch.Generator().manual_seed(seed) for seed in numbers]
        return stock(list(prompts), num_inference_steps=steps, guidance_scale=guidance, generator=generators)

    def ours(name: str) -> list[Radiograph]:
        return list(sample(own[name], PROMPTS, seeds, steps=steps, guidance=guidance))

    print(f"the two agree to a PSNR of {_agreement(ours('openvino'), ours('torch'))}\n")
    sides: dict[str, Callable[[], object]] = {
        "gen by OpenVINO, 4 images": partial(ours, "openvino"),
        "gen by torch, 4 images": partial(ours, "torch"),
        "StableDiffusionPipeline, a batch of 4": lambda: plain(PROMPTS, seeds),
        "StableDiffusionPipeline, 4 times 1": lambda: [plain([p], [s]) for p, s in zip(PROMPTS, seeds, strict=True)],
    }
    common.alternate(sides, 1)  # warm
    return {name: [one / len(PROMPTS) for one in of] for name, of in common.alternate(sides, repeats).items()}


def _agreement(some: Sequence[Radiograph], others: Sequence[Radiograph]) -> str:
    """Median and least PSNR, dB, of pairs of images with a range of 1."""
    found = [-10 * math.log10(float(((a.pixels - b.pixels) ** 2).mean())) for a, b in zip(some, others, strict=True)]
    return f"{median(found):.1f} dB, at least {min(found):.1f} ({len(found)} images)"


def cold(
    folder: Path, steps: int, guidance: float, repeats: int, images: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """(b): seconds of the whole process for ``images``, and in one further run each the part that is imports."""
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "stock.py"
        script.write_text(STOCK_SCRIPT, encoding="utf-8")
        settings = [str(steps), f"{guidance:g}"]
        own = ["-m", "gen.cli", "sample", "--prompt", PROMPTS[0], "--steps", settings[0], "--guidance", settings[1]]
        own += ["--model", str(folder), "--out", f"{place}/out", "--device", "cpu", "--quiet", "-n", str(images)]
        stock = [str(script), str(folder), PROMPTS[0], *settings, f"{place}/stock"]
        stock += [str(derived_seed(0, k)) for k in range(images)]
        sides = {
            "gen sample": own,
            "gen sample --backend torch": [*own, "--backend", "torch"],
            "script with StableDiffusionPipeline": stock,
        }
        seconds = common.alternate({name: partial(_python, command) for name, command in sides.items()}, repeats)
        imports = {name: import_seconds(_python(["-X", "importtime", *command])) for name, command in sides.items()}
    return seconds, imports


def _python(arguments: Sequence[str]) -> str:
    """Run a fresh Python on ``arguments``, offline; what it wrote to stderr."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(arguments[:3])} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stderr


@click.command(help=__doc__)
@common.model_option
@common.steps_option
@common.guidance_option
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of (a) and (c).")
@click.option("--cold-repeats", type=click.IntRange(1), default=3, show_default=True, help="Of (b).")
@common.json_option
def main(
    model: Path | None, steps: int, guidance: float, repeats: int, cold_repeats: int, json_file: Path | None
) -> None:
    folder = common.chosen_model(model)
    print(f"{common.processor()}; load before the start {os.getloadavg()[0]:.1f}")
    warm = loaded(folder, steps, guidance, repeats)
    print(f"(a) once loaded, 4 images, {steps} steps, guidance {guidance:g}, {repeats} rounds\n")
    common.print_table(["", "seconds an image: median", "least", "most", "ratio"], _rows(warm))

    starts = {}
    for images in (1, 4):
        start, imports = cold(folder, steps, guidance, cold_repeats, images)
        print(f"\n(b) cold start to {images} on disk, {cold_repeats} rounds\n")
        rows = [[*row, f"{imports[str(row[0])]:.2f}"] for row in _rows(start)]
        common.print_table(
            ["", "seconds: median", "least", "most", "ratio", "of these imports (-X importtime, one run)"], rows
        )
        starts[images] = {"seconds": start, "imports": imports}

    helped = common.alternate({"gen --help": lambda: _python(["-m", "gen.cli", "--help"])}, repeats)
    print("\n(c)\n")
    common.print_table(["", "seconds: median", "least", "most", "ratio"], _rows(helped))
    figures = {"processor": common.processor(), "steps": steps, "guidance": guidance}
    common.save_json(json_file, {**figures, "loaded": warm, "cold": starts, "help": helped})


def _rows(seconds: dict[str, list[float]]) -> list[list[object]]:
    """Median, least and most of each side, and its median over that of the first."""
    first = median(next(iter(seconds.values())))
    return [
        [name, f"{median(of):.2f}", f"{min(of):.2f}", f"{max(of):.2f}", f"{median(of) / first:.2f}"]
        for name, of in seconds.items()
    ]


if __name__ == "__main__":
    common.launch(main)
