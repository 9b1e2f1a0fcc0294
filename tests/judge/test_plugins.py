"""Other people's judges: tiny real models of transformers behind the same face, and specs that name none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gen.core.errors import BadInput, EnvironmentLacks
from gen.judge.judge import Judge
from gen.judge.plugins import ForeignJudge, open_judge, preprocessing, thresholds_of

LABELS = ["Cat", "Effusion", "no_finding", "Pleural_Thickening"]


def classifier(folder: Path, labels: list[str], *, several: bool) -> torch.nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=1,
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="multi_label_classification" if several else "single_label_classification",
    )
    model = ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 32, "width": 32}, "image_mean": [0.4], "image_std": [0.2]})
    )
    return model


def encoder(folder: Path) -> torch.nn.Module:
    """Of the kind that RAD-DINO is."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, patch_size=8, image_size=32
    )
    model = Dinov2Model(config).eval()
    model.save_pretrained(folder)
    return model


def pixels_u8(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32), np.uint8)


@pytest.mark.parametrize("several", [True, False], ids=["sigmoid", "softmax"])
def test_a_classifier_is_what_it_is_alone_under_our_names(tmp_path: Path, several: bool) -> None:
    model = classifier(tmp_path, LABELS, several=several)
    judge = open_judge(str(tmp_path), device="cpu")
    assert judge.findings == ("Pleural Effusion", "No Finding", "Pleural Thickening")
    readings = judge.read(pixels_u8(3))
    with torch.inference_mode():
        inputs = (torch.from_numpy(pixels_u8(3)).float()[:, None] / 255 - 0.4) / 0.2
        outputs = model(inputs, output_hidden_states=True)
    expected = outputs.logits.sigmoid() if several else outputs.logits.softmax(1)
    np.testing.assert_allclose(readings.findings, expected[:, 1:].numpy(), rtol=1e-4, atol=1e-6)
    features = outputs.hidden_states[-1].mean((2, 3))
    features = torch.nn.functional.normalize(features, dim=1)
    np.testing.assert_allclose(readings.embedding, features.numpy(), rtol=1e-4, atol=1e-5)
    assert np.isnan(readings.female).all()
    assert judge.predict(pixels_u8(1))[0].age is None
    assert thresholds_of(judge) == {}


def test_an_encoder_gives_its_own_embedding_and_says_nothing_else(tmp_path: Path) -> None:
    model = encoder(tmp_path)
    judge = open_judge(str(tmp_path), device="cpu")
    readings = judge.read(pixels_u8(2))
    assert readings.findings.shape == (2, 0)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    grey = torch.from_numpy(pixels_u8(2)).float()[:, None].expand(-1, 3, -1, -1) / 255
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model((grey - mean) / std).pooler_output, dim=1)
    np.testing.assert_allclose(readings.embedding, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_identity_follows_the_weights(tmp_path: Path) -> None:
    encoder(tmp_path / "a")
    encoder(tmp_path / "b")
    classifier(tmp_path / "c", LABELS, several=True)
    a, b, c = (open_judge(str(tmp_path / name), device="cpu").fingerprint for name in "abc")
    assert a == b != c


def test_identity_follows_the_preprocessing_since_embeddings_are_kept_under_it(tmp_path: Path) -> None:
    classifier(tmp_path, LABELS, several=True)
    before = open_judge(str(tmp_path), device="cpu")
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_mean": [0.9]}))
    after = open_judge(str(tmp_path), device="cpu")
    assert not np.allclose(before.read(pixels_u8(1)).embedding, after.read(pixels_u8(1)).embedding, atol=1e-4)
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    "facts",
    [
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [127.5], "image_std": [64.0]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0], "image_std": [1.0]},
    ],
    ids=["not normalised", "not rescaled", "another scale"],
)
def test_images_are_prepared_as_transformers_prepares_them(tmp_path: Path, facts: dict[str, Any]) -> None:
    from transformers import ViTImageProcessor

    size = {"height": 32, "width": 32}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": size, **facts}))
    side, mean, std = preprocessing(tmp_path, {})
    grey = torch.from_numpy(pixels_u8(2)).float()[:, None].expand(-1, 3, -1, -1) / 255
    three = {key: value * 3 if isinstance(value, list) else value for key, value in facts.items()}
    theirs = ViTImageProcessor(do_resize=False, **three)
    colours = [np.repeat(image[None], 3, 0) for image in pixels_u8(2)]
    expected = theirs(colours, input_data_format="channels_first", return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose((grey - mean[:, None, None]) / std[:, None, None], expected, rtol=1e-4, atol=1e-4)
    assert side == 32


@pytest.mark.parametrize("facts", [{"rescale_factor": 0}, {"image_std": [0.0]}, {"rescale_factor": "much"}])
def test_a_preprocessing_that_cannot_be_is_named(tmp_path: Path, facts: dict[str, Any]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32, **facts}))
    with pytest.raises(BadInput, match=r"preprocessor_config\.json: .* cannot be understood"):
        preprocessing(tmp_path, {})


@pytest.mark.parametrize("what", ["embedding", "findings"])
def test_a_judge_whose_numbers_are_not_finite_is_refused(what: str) -> None:
    """Where they passed for what it does not say, no gate would refuse an image, and no copy would be near."""

    def run(pixels_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = {"findings": np.full((len(pixels_u8), 1), 0.5), "embedding": np.ones((len(pixels_u8), 4))}
        said[what][-1, 0] = np.nan
        return said["findings"], said["embedding"]

    judge = ForeignJudge("broken", "0", ("Edema",), 32, run)
    with pytest.raises(BadInput, match=rf"not finite for image 2 \({what}\)"):
        judge.read(pixels_u8(3))


def test_our_own_folder_opens_by_the_same_door(toy_judge: Path) -> None:
    judge = open_judge(str(toy_judge), device="cpu")
    assert isinstance(judge, Judge)
    assert thresholds_of(judge) == judge.calibration.thresholds


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "no judge at 'nowhere'"),
        ("xrv:densenet121-res224-all", "names no weights"),
        ("xrv:densenet121-res224-all@model.pt", "is no safetensors file"),
        ("xrv:@model.safetensors", "names no weights"),
    ],
)
def test_a_spec_that_names_none_is_refused(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_judge(spec)


def test_what_no_finding_is_named_by_and_pickles_are_refused(tmp_path: Path) -> None:
    classifier(tmp_path / "cats", ["Cat", "Dog"], several=False)
    with pytest.raises(BadInput, match=r"none of its labels is a finding \(Cat, Dog\)"):
        open_judge(str(tmp_path / "cats"))
    encoder(tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").rename(tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(BadInput, match="is a pickle"):
        open_judge(str(tmp_path / "old"))


def test_without_torchxrayvision_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)  # Python's own way to say that it is not installed
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", None)
    with pytest.raises(EnvironmentLacks, match=r"cxr-gen\[xrv\]"):
        open_judge(f"xrv:densenet121-res224-all@{tmp_path / 'w.safetensors'}")
