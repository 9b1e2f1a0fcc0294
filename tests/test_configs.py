"""Every file in configs/ fills the configuration of its kind, which its name begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from augment.anatomy.config import AnatomyConfig
from augment.classify.arms import CompareConfig
from augment.classify.config import ClassifierConfig
from augment.dataset.config import DatasetConfig
from augment.suppress.config import LatentConfig, SuppressConfig
from gen.core.config import load_config
from gen.init import init
from gen.judge.config import JudgeConfig
from gen.model.training.autoencoder import AutoencoderConfig
from gen.model.training.denoiser import DenoiserConfig
from gen.model.training.distill import DistillConfig

CONFIGS = Path(__file__).parents[1] / "configs"
KINDS = {
    "anatomy": AnatomyConfig,
    "autoencoder": AutoencoderConfig,
    "balanced": DatasetConfig,
    "classify": ClassifierConfig,
    "classify_compare": CompareConfig,
    "classify_experiment": CompareConfig,
    "classify_imbalance": CompareConfig,
    "denoiser": DenoiserConfig,
    "distill": DistillConfig,
    "finetune": DenoiserConfig,
    "judge": JudgeConfig,
    "suppress": SuppressConfig,
    "suppress_latent": LatentConfig,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_a_config_fills_its_kind(path: Path) -> None:
    kind = max((kind for kind in KINDS if f"{path.stem}_".startswith(f"{kind}_")), key=len)
    load_config(KINDS[kind], path)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_a_config_opens_with_a_sentence_which_gen_init_shows(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    shown = CliRunner().invoke(init, []).output.splitlines()
    assert [line for line in shown if line.split()[0] == path.stem and line.endswith(first.removeprefix("# "))]
