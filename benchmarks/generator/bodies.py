"""Projected bodies, and what the model paints on each: a lesion of either side, a lateral view and a device.

Each pair is that of `gen sample --anatomy phantom --prompt PROMPT --seed SEED`; the seeds are 0, 1, 2, 3, one a row,
and nothing is picked. An R marks the patient's right side.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import common
from gen.core.radiograph import Radiograph

# Two prompts a row.
PROMPTS = (
    "60 year old male. PA view. Moderate right pleural effusion.",
    "60 year old male. PA view. Moderate left pleural effusion.",
    "50 year old female. PA view. Right lung mass.",
    "50 year old female. PA view. Left lung mass.",
    "30 year old male. PA view. Large right pneumothorax.",
    "30 year old male. PA view. Large left pneumothorax.",
    "60 year old female. Lateral view. Moderate pleural effusion.",
    "70 year old male. AP view. Pacemaker. No pneumothorax.",
)


def marked(image: Radiograph) -> Radiograph:
    """``image`` with an R in its upper left corner, where the right side of a patient is who faces the viewer."""
    levels = Image.fromarray(np.rint(image.pixels * 255).astype(np.uint8))
    ImageDraw.Draw(levels).text((6, 4), "R", fill=255, font=ImageFont.load_default(20), stroke_width=2, stroke_fill=0)
    return replace(image, pixels=np.asarray(levels, np.float32) / 255)


def psnr(first: Radiograph, second: Radiograph) -> float:
    """Of two radiographs as their files have them, in dB; infinite where they are equal."""
    a, b = common.as_u8([first, second]).astype(np.float64) / 255
    error = float(np.square(a - b).mean())
    return -10 * float(np.log10(error)) if error else float("inf")


@click.command(help=__doc__)
@common.model_option
@common.steps_option
@common.guidance_option
@click.option("--beside-torch", is_flag=True, help="Make each by torch as well, and tell how far the two are apart.")
@common.figure_option("docs/bodies.png")
def main(model: Path | None, steps: int, guidance: float, beside_torch: bool, figure: Path) -> None:
    from tqdm import tqdm

    from gen.language.study import Study
    from gen.model.capabilities import has_canonical_frame
    from gen.model.folder import model_hash
    from gen.model.sampling.anatomy import bone_share, open_bodies
    from gen.model.sampling.contact_sheet import write_contact_sheet
    from gen.model.sampling.job import Job, read_job, sample_job
    from gen.model.sampling.pipeline import load_pipeline

    folder = common.chosen_model(model)
    pipeline = load_pipeline(folder, backend="auto")
    torchs = load_pipeline(folder, dtype="float32") if beside_torch else None
    canonical, bodies = has_canonical_frame(pipeline.capabilities), open_bodies("phantom")
    pictures, captions, table = [], [], []
    for k, prompt in enumerate(tqdm(PROMPTS, "bodies", unit="body")):
        seed = k // 2
        read = read_job(
            Job(text=prompt, seed=seed, anatomy="phantom", steps=steps, guidance=guidance, model=folder),
        )
        [item] = read.items
        body = bodies.make(item.request.study or Study(), item.seed, pipeline.configs.size, canonical=canonical)
        [(_, image)] = sample_job(read, pipeline, bodies=[body])
        pair = [body.image, image]
        pictures += pair if body.study.view == "lateral" else [marked(each) for each in pair]
        captions += [f"PROJECTION, seed {seed}. {prompt}", f"SYNTHETIC, seed {seed}. {prompt}"]
        table.append([seed, prompt, body.patient, f"{bone_share(image.pixels, body):.2f}"])
        if torchs is not None:
            [(_, other)] = sample_job(read, torchs, bodies=[body])
            table[-1].append(f"{psnr(image, other):.1f}")
    figure.parent.mkdir(parents=True, exist_ok=True)
    write_contact_sheet(figure, pictures, captions, columns=4)
    print(f"model {folder.name} ({model_hash(folder)}), {steps} steps, guidance {guidance:g}; {pipeline.where}\n")
    common.print_table(
        ["seed", "prompt", "body", "ribs left", *(["PSNR against torch, dB"] if beside_torch else [])], table
    )
    print(f"\npicture: {figure}")


if __name__ == "__main__":
    common.launch(main)
