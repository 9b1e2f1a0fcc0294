"""What the tests share: no network, one thread, and a tiny but real model in a stock folder."""

from __future__ import annotations

import atexit
import locale
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Read at import by the libraries, so they are set before any test module is imported.
os.environ["OMP_NUM_THREADS"] = "1"  # toys are quicker so, and "to the last bit" needs one number everywhere
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cxr-gen-tests-")  # nothing of the user's own cache is used
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

LOCALE = locale.setlocale(locale.LC_ALL)


@pytest.fixture(autouse=True)
def _same_locale() -> Iterator[None]:
    """Some library sets it to "C", after which text without a stated encoding is ASCII, in tests that come later."""
    locale.setlocale(locale.LC_ALL, LOCALE)
    yield
    locale.setlocale(locale.LC_ALL, LOCALE)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A command that runs in this process sets how many threads it computes with, and later tests would keep that."""
    yield
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


_asks_for_openvino = [False]  # of the test that is set up, with all its fixtures, or runs


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _asks_for_openvino[0] = item.get_closest_marker("openvino") is not None


@pytest.fixture(scope="session", autouse=True)
def _torch_samples() -> Iterator[None]:
    """Let "auto" mean torch, also where OpenVINO is installed: to convert every toy would take the longest.

    The tests of OpenVINO itself ask for the marker ``openvino``.
    """
    from gen.model.sampling import openvino_backend

    why_not = openvino_backend.why_not
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            openvino_backend,
            "why_not",
            lambda *folder, **asked: why_not(*folder, **asked) if _asks_for_openvino[0] else "the tests use torch",
        )
        yield


@pytest.fixture(scope="session")
def gen_train() -> Callable[..., None]:
    """Run ``gen train`` in a child process, since a kernel that a processor cannot run kills its process.

    Then the tests fail that need what was trained, with the child's last words, and the others go on.
    """

    def call(*arguments: object) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", "gen.cli", "train", *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert ended.returncode == 0, f"exit status {ended.returncode}\n{ended.stderr[-5000:]}"

    return call


CAPTIONS = (
    "63 year old female. AP view. Moderate right pleural effusion. Support devices.",
    "5 year old male. PA view. No finding.",
    "Adult. Lateral view. Small left pneumothorax. No cardiomegaly. Possible pneumonia.",
)


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock Stable Diffusion folder with random weights: 32x32 grey, 4 latent channels at 1/2, v-prediction.

    Every part is the real class at a toy size, so what holds for it holds for a grown model's folder.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from gen.core.files import write_json
    from gen.language.prompt import read_prompt
    from gen.model.capabilities import CAPABILITIES, capabilities_of
    from gen.model.training.tokenizer import save_for_older_readers, train_tokenizer

    folder = tmp_path_factory.mktemp("models") / "toy"
    tokenizer = train_tokenizer(iter(CAPTIONS), 1000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=1.0,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=32,
            attention_head_dim=2,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    save_for_older_readers(folder / "tokenizer")
    studies = [read_prompt(caption).study for caption in CAPTIONS]
    write_json(folder / CAPABILITIES, capabilities_of(studies, canonical=True))
    return folder


COARSE_MM = (5.0, 3.5, 3.5)


@pytest.fixture
def coarse_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    """``gen drr --phantom`` on a grid of COARSE_MM, with a thirtieth of the voxels."""
    from functools import partial

    from drr.phantom.chest import make_phantom

    monkeypatch.setattr("drr.job.make_phantom", partial(make_phantom, spacing_mm=COARSE_MM))


@pytest.fixture(scope="session")
def chest_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a coarse phantom as a real CT would come: chest.nii.gz, chest.seg.nii.gz, chest.seg.labels.csv."""
    import numpy as np
    import SimpleITK as sitk

    from drr.phantom.chest import make_phantom

    phantom = make_phantom("M", "average", 50, 0, COARSE_MM)
    assert phantom.labels is not None
    folder = tmp_path_factory.mktemp("ct")
    for name, values in (("chest.nii.gz", phantom.hu), ("chest.seg.nii.gz", phantom.labels.ids)):
        image = sitk.GetImageFromArray(np.asarray(values))
        image.SetSpacing(phantom.spacing_mm[::-1])
        image.SetOrigin(phantom.origin_mm)
        sitk.WriteImage(image, str(folder / name))
    lines = ["id,name", *(f"{number},{name}" for number, name in phantom.labels.names.items())]
    (folder / "chest.seg.labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder
