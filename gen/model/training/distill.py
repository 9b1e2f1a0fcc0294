"""Distilling a denoiser: `gen train distill CONFIG` makes a student that samples in a few passes and without guidance.

The student starts as its teacher. It learns along whole samplings of the teacher, from noise and captions alone: image
n of the run (which caption, which noise) is a function of (seed, n). No image is read.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.bundled import bundled_model
from gen.core.config import number
from gen.core.errors import BadInput
from gen.core.manifest import read_manifest
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.data.split import data_digest, order_of, split_rows
from gen.data.texts import texts_of
from gen.model import DEFAULT_GUIDANCE
from gen.model.device import pick_attention, set_attention
from gen.model.folder import CARD, newest_model
from gen.model.sampling.settings import Settings
from gen.model.sampling.torch_backend import TorchPipeline, load_torch
from gen.model.scheduler import check_scheduler
from gen.model.training.denoiser_network import Denoiser, tokenize
from gen.model.training.export import Fixtures, write_model_folder
from gen.model.training.session import Session, TrainingConfig
from gen.model.training.teacher import Guide, few_step_scheduler, landing_weights, outputs_through, path_of, solvers

if TYPE_CHECKING:
    import torch

    from gen.model.sampling.solver import Solver


@dataclass(frozen=True)
class DistillConfig(TrainingConfig):
    """`gen train distill`: everything that decides the weights. An image is one sampling of the teacher."""

    teacher: str | None = None  # a model folder, or the run folder of a denoiser; None: the bundled model
    steps: int = number(8, above=0)  # of the student, each one pass through its network
    substeps: int = number(3, above=0)  # of the teacher for each of them
    guidance: float = number(DEFAULT_GUIDANCE, least=0)  # of the teacher; 1: none
    # Sigmas, least and most, between which the teacher is guided; None: those of its capabilities, or all.
    guidance_interval: list[float] | None = None
    images: int = number(4_000, above=0)
    batch_size: int = number(2, above=0)  # all steps of an image are learnt together
    learning_rate: float = number(2e-4, above=0)
    warmup: int = number(100, least=0)
    cooldown: float = number(0.3, share=True)
    checkpoint_every: int = number(1_000, above=0)
    validate_every: int = number(500, above=0)
    validation_images: int = number(16, above=0)
    fact_dropout: float = number(0.1, share=True)  # as of the denoiser
    images_per_patient: int = number(4, least=0)  # captions, in an epoch
    balanced: bool = True  # rare findings, and the rarer sex and view, are asked for more often
    attention: str = "auto"  # xformers, sdpa, eager
    gradient_checkpointing: bool = False


def distill(config: DistillConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the folder of the student, its weights averaged.

    Raises BadInput for data, a teacher or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch

    # Whatever can be refused comes first: a run folder that exists keeps its config for good.
    teacher = load_teacher(config)
    how = guidance_of(config, teacher)
    canonical = bool((teacher.capabilities or {}).get("canonical_language"))
    rows = split_rows(read_manifest(config.data))
    captions = {
        split: texts_of(rows[split], "study" if canonical else "prompt", 0.0, config.fact_dropout)
        for split in ("train", "validation")
    }
    scheduler = few_step_scheduler(teacher.scheduler.config)
    coarse, fine = solvers(scheduler, config.steps, config.substeps)
    training = Session(config)
    attention = pick_attention(config.attention, training.device, training.precision, training=True)

    data = data_digest({split: rows[split] for split in ("train", "validation")})
    with training.open(command, data=data, teacher=teacher.fingerprint):
        # What learns, and how
        guide = teacher.unet.to(training.device)
        text_encoder = teacher.text_encoder.to(training.device)
        student = copy.deepcopy(guide).requires_grad_(True).train()
        for unet in (guide, student):
            set_attention(unet, attention)
        if config.gradient_checkpointing:
            student.enable_gradient_checkpointing()
        adam = torch.optim.AdamW(
            student.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        training.start("student", student, {"student": adam}, attention=attention)
        model = training.accelerator.prepare(student)
        order = order_of(rows["train"], config.seed, config.images_per_patient, config.balanced)
        fixtures = Fixtures(teacher.vae, teacher.tokenizer, scheduler, student_capabilities(config, teacher))
        shape = (student.config.in_channels, student.config.sample_size, student.config.sample_size)
        weights = torch.from_numpy(landing_weights(coarse)).float().to(training.device)

        def states_of(texts: Sequence[str]) -> torch.Tensor:
            with torch.no_grad():
                states: torch.Tensor = text_encoder(tokenize(teacher.tokenizer, texts).to(training.device))[0]
            return states

        def lesson(texts: Sequence[str], seeds: Sequence[int]) -> Lesson:
            noise = np.stack([standard_normal(shape, seed) for seed in seeds])
            guided = Guide(guide, states_of(texts), states_of([""]), how)
            with training.accelerator.autocast():
                points = path_of(guided.along(fine), fine, noise, config.substeps)
            return Lesson(guided, points, outputs_through(coarse, points))

        held_out: Lesson | None = None

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                if held_out is None:
                    texts = captions["validation"].fixed()
                    chosen = order_of(rows["validation"], 0, 1)
                    places = range(config.validation_images)
                    seeds = [derived_seed(0, f"validation {k}") for k in places]
                    held_out = lesson([texts[chosen.index(k)] for k in places], seeds)
                    with training.accelerator.autocast():
                        apart = distance(held_out.guide, coarse, held_out)
                    training.log("teacher", distance=apart)
                    training.print(f"the teacher itself, guided, in {config.steps} steps: distance {apart:.4f}")
                with training.averaged(), training.accelerator.autocast(), torch.no_grad():
                    by_step = errors_by_step(student, coarse, held_out, weights).mean(1)
                    alone = replace(held_out.guide, unet=student, how=Settings(guidance=1))
                    apart = distance(alone, coarse, held_out)
                training.log(
                    "validation",
                    loss=float(by_step.mean()),
                    distance=apart,
                    loss_by_step={f"{i}": float(value) for i, value in enumerate(by_step)},
                )
                training.print(f"{training.images} images: loss {float(by_step.mean()):.5f}, distance {apart:.4f}")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_student(stage / "model", student, text_encoder, fixtures))
            if training.finished():
                return training.folder / "model"

            # A batch: whole samplings of the teacher, of the captions and noise whose turn it is
            rank = [order.index(place) for place in training.places()]
            seeds = [derived_seed(config.seed, place) for place in training.places()]
            batch = lesson([captions["train"].draw(i, seed) for i, seed in zip(rank, seeds, strict=True)], seeds)

            # Learn from it: all steps of the student at once
            with training.accelerator.accumulate(model):
                loss = errors_by_step(model, coarse, batch, weights).mean()
                training.step(loss, [rows["train"][i].file for i in rank])


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from N samplings of the teacher."""

    guide: Guide  # the teacher, with the states of their texts
    points: np.ndarray  # (S + 1, N, C, h, w), where the steps of the student are to begin, and the end
    outputs: np.ndarray  # (S, N, C, h, w), what it is to predict there


def errors_by_step(unet: Any, solver: Solver, lesson: Lesson, weights: torch.Tensor) -> torch.Tensor:
    """Mean squared errors (S, N) of what ``unet`` predicts in each step, times ``weights`` (S,)."""
    import torch

    states = lesson.guide.states
    steps, images = lesson.outputs.shape[:2]
    given, wanted = (
        torch.from_numpy(part.reshape(-1, *part.shape[2:])).to(states.device)
        for part in (lesson.points[:-1], lesson.outputs)
    )
    timesteps = torch.from_numpy(solver.timesteps).to(states.device).repeat_interleave(images)
    predicted = unet(given, timesteps, states.repeat(steps, 1, 1)).sample.float()
    errors: torch.Tensor = (predicted - wanted).square().mean((1, 2, 3)).reshape(steps, images)
    return errors * weights[:, None]


def distance(guide: Guide, solver: Solver, lesson: Lesson) -> float:
    """How far samplings by ``solver`` end from those of the lesson, over the size of these, root mean square."""
    ends = path_of(guide.along(solver), solver, lesson.points[0])[-1]
    wanted = lesson.points[-1]
    return float(np.sqrt(np.square(ends - wanted).mean() / np.square(wanted).mean()))


def load_teacher(config: DistillConfig) -> TorchPipeline:
    """The teacher, on the CPU, in float32; BadInput for one that a student cannot learn from."""
    folder = bundled_model() if config.teacher is None else newest_model(Path(config.teacher))
    teacher = load_torch(folder, device="cpu", dtype="float32", attention="sdpa")
    check_scheduler(folder / "scheduler", training=True)
    if (told := (teacher.capabilities or {}).get("distilled")) is not None:
        raise BadInput(
            f"teacher is {folder}, which was itself distilled, from {told['teacher']}",
            hint=f"name {told['teacher']} as the teacher",
        )
    return teacher


def guidance_of(config: DistillConfig, teacher: TorchPipeline) -> Settings:
    """How the teacher is guided; BadInput for an interval that is none."""
    told = config.guidance_interval or (teacher.capabilities or {}).get("guidance_interval")
    if told is not None and not (len(told) == 2 and 0 <= told[0] < told[1]):
        raise BadInput(f"guidance_interval is {told}", hint="give two sigmas, such as [0.3, 6]")
    return Settings(guidance=config.guidance, guidance_interval=(told[0], told[1]) if told else None)


def student_capabilities(config: DistillConfig, teacher: TorchPipeline) -> dict[str, Any]:
    """What the teacher was shown, how the student samples, and whose student it is."""
    shown = {key: value for key, value in (teacher.capabilities or {}).items() if key != "guidance_interval"}
    distilled = {"teacher": teacher.name, "model_hash": teacher.fingerprint, "guidance": config.guidance}
    return {**shown, "steps": config.steps, "guidance": 1.0, "distilled": distilled}


def write_student(folder: Path, student: Any, text_encoder: Any, fixtures: Fixtures) -> None:
    """Write the model folder of ``student``, with a card that says whose student it is and how it samples."""
    write_model_folder(folder, Denoiser(student, text_encoder), fixtures)
    told = fixtures.capabilities
    of = told["distilled"]
    (folder / CARD).write_text(
        f"# A student of {of['teacher']}\n\n"
        f"Distilled from {of['teacher']} (model hash {of['model_hash']}, guidance {of['guidance']:g}): "
        f"it makes an image in {told['steps']} passes through the network, without guidance.\n\n"
        f"`gen sample --model` does so by itself. In diffusers: "
        f"`pipeline(prompt, num_inference_steps={told['steps']}, guidance_scale=1)`"
        f"{', without the noise that the decoder draws from' if told.get('decoder_noise') else ''}.\n\n"
        "Data, licence, limits and use are those of the teacher: see its card. For research and teaching only, not "
        "for clinical use.\n",
        encoding="utf-8",
    )
