"""A student at toy size: from every layout to a folder that samples as it was taught; exact resume; refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import EDMEulerScheduler, StableDiffusionPipeline

from gen.core.config import load_config
from gen.core.errors import BadInput
from gen.core.run import read_log
from gen.model.capabilities import read_capabilities
from gen.model.folder import load_autoencoder, model_hash, newest_model
from gen.model.sampling.job import Job, read_job
from gen.model.sampling.pipeline import load_pipeline, sample
from gen.model.training.distill import DistillConfig, distill
from gen.model.training.resampled import Resampling, load_resampler, steps_of, strengths
from tests.model.conftest import CONFIGS, Ended

from .test_autoencoder import copy_as_of, digests


def overrides(out: Path, data: Path, teacher: Path) -> list[str]:
    return [f"out={out}", f"data={data}", f"teacher={teacher}", "device=cpu", "dtype=float32"]


def toy_config(out: Path, data: Path, teacher: Path, *more: str) -> DistillConfig:
    return load_config(DistillConfig, CONFIGS / "distill_toy.yaml", [*overrides(out, data, teacher), *more])


@pytest.fixture(scope="session")
def toy_student(
    gen_train: Callable[..., None], toy_data: Path, toy_denoiser: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder of configs/distill_toy.yaml, finished."""
    out = tmp_path_factory.mktemp("runs") / "student"
    gen_train("distill", CONFIGS / "distill_toy.yaml", *overrides(out, toy_data, toy_denoiser))
    return out


def test_a_student_says_how_it_samples_and_whose_it_is_and_differs_in_its_u_net_alone(
    toy_student: Path, toy_denoiser: Path
) -> None:
    folder, of = newest_model(toy_student), newest_model(toy_denoiser)
    mine, theirs = (read_capabilities(each) or {} for each in (folder, of))
    assert (mine["steps"], mine["guidance"]) == (4, 1.0)
    assert mine["distilled"] == {"teacher": of.name, "model_hash": model_hash(of), "guidance": 2.0}
    assert {key: mine[key] for key in theirs} == theirs
    assert model_hash(of) in (folder / "README.md").read_text()
    after, before = (load_pipeline(each, device="cpu", dtype="float32") for each in (folder, of))
    for part in ("unet", "text_encoder", "vae"):
        new, old = (dict(getattr(each, part).state_dict()) for each in (after, before))
        assert all(torch.equal(old[key], new[key]) for key in old) == (part != "unet"), part


def test_sampling_takes_the_students_steps_and_no_guidance_unless_it_is_told_others(toy_student: Path) -> None:
    pipeline = load_pipeline(newest_model(toy_student), device="cpu", dtype="float32")
    passes: list[int] = []
    [image] = sample(pipeline, ["PA view."], [0], on_step=passes.append)
    assert len(passes) == 4
    assert (image.provenance["steps"], image.provenance["guidance"]) == ("4", "1")
    [image] = sample(pipeline, ["PA view."], [0], steps=2, guidance=3)
    assert (image.provenance["steps"], image.provenance["guidance"]) == ("2", "3")
    for given, expected, off in (({}, (4, 1.0), []), ({"steps": 3, "guidance": 2.0}, (3, 2.0), [True])):
        lines: list[str] = []
        read = read_job(Job(text="PA view.", model=newest_model(toy_student), **given), lines.append)
        assert (read.steps, read.guidance) == expected
        assert ["3 steps and guidance 2 make worse images" in line for line in lines if "distilled" in line] == off


def test_a_student_makes_latents_anew_in_its_own_steps_alone(toy_student: Path, toy_autoencoder: Path) -> None:
    how, vae = Resampling(model=str(toy_student), sigma_min=0.01, sigma_max=100), load_autoencoder(toy_autoencoder)
    pipeline = load_resampler(how, vae, 32, "cpu", "float32")
    assert steps_of(pipeline, how) == len(strengths(pipeline, how)) == 4
    with pytest.raises(BadInput, match=r"resampled\.steps is 20: the model was distilled to 4 steps"):
        load_resampler(replace(how, steps=20), vae, 32, "cpu", "float32")


def test_the_stock_pipeline_opens_a_student(toy_student: Path) -> None:
    stock = StableDiffusionPipeline.from_pretrained(newest_model(toy_student))
    [image] = stock("PA view.", num_inference_steps=4, guidance_scale=1, height=32, width=32).images
    assert image.size == (32, 32)


def test_a_resumed_student_is_the_unbroken_one_to_the_last_bit(
    toy_student: Path, toy_data: Path, toy_denoiser: Path, tmp_path: Path
) -> None:
    resumed = copy_as_of(toy_student, 8, tmp_path / "resumed")
    folder = distill(toy_config(resumed, toy_data, toy_denoiser))
    assert digests(folder.parent) == digests(toy_student / "checkpoints" / "images-000000016")


def test_a_student_that_is_taught_what_it_knows_has_nothing_to_learn(
    toy_data: Path, toy_denoiser: Path, tmp_path: Path
) -> None:
    distill(toy_config(tmp_path / "run", toy_data, toy_denoiser, "guidance=1", "substeps=1", "images=4"))
    first = next(row for row in read_log(tmp_path / "run") if row["event"] == "validation")
    assert first["images"] == 0
    assert first["loss"] < 1e-8
    assert first["distance"] < 1e-3
    assert next(row for row in read_log(tmp_path / "run") if row["event"] == "teacher")["distance"] < 1e-3


def test_a_student_comes_nearer_to_its_teacher(toy_data: Path, toy_denoiser: Path, tmp_path: Path) -> None:
    more = ("images=96", "validate_every=96", "checkpoint_every=96", "guidance=4", "warmup=0", "learning_rate=8e-4")
    distill(toy_config(tmp_path / "run", toy_data, toy_denoiser, *more))
    before, after = (row for row in read_log(tmp_path / "run") if row["event"] == "validation")
    assert set(after["loss_by_step"]) == {"0", "1", "2", "3"}
    assert after["loss"] < 0.9 * before["loss"]
    assert after["distance"] < before["distance"]


def test_any_stable_diffusion_folder_can_teach(stable_diffusion: Path, toy_data: Path, tmp_path: Path) -> None:
    folder = distill(toy_config(tmp_path / "run", toy_data, stable_diffusion, "images=4"))
    before, after = (load_pipeline(each, device="cpu", dtype="float32") for each in (stable_diffusion, folder))
    assert after.scheduler.config.prediction_type == before.scheduler.config.prediction_type
    assert json.loads((folder / "capabilities.json").read_text()).keys() == {"steps", "guidance", "distilled"}
    [image] = sample(after, ["Report of a chest."], [0])
    assert image.provenance["steps"] == "4"
    read = read_job(Job(text="45 year old male. PA view.", model=folder))
    assert not read.items[0].request.warnings, "a model that does not say what it was shown is not doubted"


def test_a_student_does_not_teach(gen: Callable[..., Ended], toy_student: Path, toy_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = gen("train", "distill", CONFIGS / "distill_toy.yaml", *overrides(out, toy_data, toy_student))
    assert ended.code == 2
    assert f"{newest_model(toy_student)}, which was itself distilled" in ended.err
    assert not out.exists()


def test_another_teacher_does_not_go_on_with_the_run(
    toy_student: Path, toy_data: Path, toy_denoiser: Path, tmp_path: Path
) -> None:
    begun = shutil.copytree(toy_student, tmp_path / "begun")
    teacher = shutil.copytree(toy_denoiser, tmp_path / "teacher")
    config = newest_model(teacher) / "capabilities.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "style": ["sharp"]}))
    with pytest.raises(BadInput, match="teacher"):
        distill(toy_config(begun, toy_data, teacher))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=0", "steps is 0; it must be above 0"),
        ("substeps=300", "steps is 4 and substeps is 300, together more than the 1000 timesteps"),
        ("guidance_interval=[6,0.3]", "guidance_interval is [6.0, 0.3]; give two sigmas"),
        ("guidance_interval=[1]", "guidance_interval is [1.0]; give two sigmas"),
        ("teacher=/nowhere", "/nowhere is not a folder"),
        ("data=/nowhere", "/nowhere holds no metadata.csv"),
        ("attention=flash", "unknown attention 'flash'"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_a_run_folder_exists(
    override: str, message: str, toy_data: Path, toy_denoiser: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refusal:
        distill(toy_config(tmp_path / "run", toy_data, toy_denoiser, override))
    assert message in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_another_process_is_refused(broken_model: Path, toy_data: Path, tmp_path: Path) -> None:
    EDMEulerScheduler(prediction_type="v_prediction").save_pretrained(broken_model / "scheduler")
    with pytest.raises(BadInput, match="EDMEulerScheduler"):
        distill(toy_config(tmp_path / "run", toy_data, broken_model))
    assert not (tmp_path / "run").exists()
