"""A model folder is whole or refused by name, and what it was never shown is said."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from gen.core.errors import BadInput
from gen.core.files import read_json, write_json
from gen.core.manifest import read_manifest
from gen.data.split import split_rows
from gen.judge.judge import load_judge
from gen.judge.reference import read_reference
from gen.language.prompt import read_prompt
from gen.language.study import Finding, Study
from gen.model.capabilities import capabilities_of, capability_warnings, read_capabilities
from gen.model.folder import check_model_folder, load_autoencoder, model_hash, pickles

WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


def refusal(folder: Path) -> str:
    with pytest.raises(BadInput) as error:
        check_model_folder(folder)
    return str(error.value)


def test_a_whole_folder_passes(toy_model: Path, stable_diffusion: Path) -> None:
    check_model_folder(toy_model)
    check_model_folder(stable_diffusion)


def test_a_missing_folder_or_index_is_named(broken_model: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").startswith(f"{tmp_path / 'none'} is not a folder")
    (broken_model / "model_index.json").unlink()
    assert f"{broken_model} holds no model_index.json" in refusal(broken_model)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "", "null", "7"])
def test_an_index_that_is_not_an_object_is_named(broken_model: Path, text: str) -> None:
    (broken_model / "model_index.json").write_text(text)
    assert str(broken_model / "model_index.json") in refusal(broken_model)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(broken_model: Path, part: str) -> None:
    shutil.rmtree(broken_model / part)
    assert refusal(broken_model).startswith(f"{broken_model}: the part '{part}' is missing")


def test_an_index_without_a_part_is_named(broken_model: Path) -> None:
    index = read_json(broken_model / "model_index.json")
    del index["unet"]
    (broken_model / "model_index.json").write_text(json.dumps(index))
    assert "the part 'unet' is missing" in refusal(broken_model)


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_missing_or_pickled_are_told_apart(broken_model: Path, part: str) -> None:
    (broken_model / part / f"{WEIGHTS[part]}.safetensors").unlink()
    assert refusal(broken_model).startswith(f"{broken_model / part} holds no weights (*.safetensors)")
    pickle = broken_model / part / f"{WEIGHTS[part]}.bin"
    pickle.write_bytes(b"\x80\x04.")
    assert refusal(broken_model).startswith(f"{pickle} is a pickle, which can run code when it is loaded")


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_of_a_variant_alone_are_named_with_what_to_do(broken_model: Path, part: str) -> None:
    name = WEIGHTS[part]
    file = broken_model / part / f"{name}.safetensors"
    file.rename(file.with_name(f"{name}.fp16.safetensors"))
    told = refusal(broken_model)
    assert told.startswith(f"{broken_model / part} holds {name}.fp16.safetensors and no {name}.safetensors; rename it")
    (broken_model / part / f"{name}.fp16.safetensors").rename(file)
    check_model_folder(broken_model)


def test_a_pickle_beside_safetensors_is_listed_and_no_fault(broken_model: Path) -> None:
    assert pickles(broken_model) == []
    pickle = broken_model / "unet" / "diffusion_pytorch_model.bin"
    pickle.write_bytes(b"\x80\x04.")
    assert pickles(broken_model) == [pickle]
    check_model_folder(broken_model)


def bundle(*arguments: object) -> Result:
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "bundle.py"))
    return CliRunner().invoke(script["bundle"], [str(argument) for argument in arguments])


def test_a_bundle_says_that_weights_may_learn_from_its_images(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("card")
    ended = bundle(toy_model, toy_model, toy_data, tmp_path / "card.md", tmp_path / "out")
    assert ended.exit_code == 0, ended.stderr
    shown = read_json(toy_model / "capabilities.json")
    assert "weights_may_learn" not in shown
    assert read_capabilities(tmp_path / "out") == {**shown, "weights_may_learn": True}
    index = read_reference(tmp_path / "out" / "reference.safetensors")
    assert len(index.codes) == len(split_rows(read_manifest(toy_data))["train"])
    assert index.key == load_judge(device="cpu").fingerprint


def test_a_bundle_tells_the_noise_of_its_own_decoder(toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("card")
    noisy = shutil.copytree(toy_model, tmp_path / "noisy")
    shown = read_json(toy_model / "capabilities.json")
    (noisy / "capabilities.json").write_text(json.dumps({**shown, "decoder_noise": [0, 0.1, 0.2, 0.4]}))
    rest = (toy_data, tmp_path / "card.md", "--decoder-noise-share", 0.5)
    for model, autoencoder, wanted in ((toy_model, noisy, [0, 0.05, 0.1, 0.2]), (noisy, toy_model, None)):
        out = tmp_path / f"out of {model.name}"
        ended = bundle(model, autoencoder, *rest, out)
        assert ended.exit_code == 0, ended.stderr
        assert read_json(out / "capabilities.json").get("decoder_noise") == wanted


def test_a_bundle_that_cannot_be_made_is_one_line(
    toy_model: Path, toy_autoencoder: Path, toy_data: Path, tmp_path: Path
) -> None:
    student, card = shutil.copytree(toy_model, tmp_path / "student"), tmp_path / "student" / "model_index.json"
    told = {**read_json(toy_model / "capabilities.json"), "distilled": {"teacher": "toy"}}
    (student / "capabilities.json").write_text(json.dumps(told))
    for arguments, culprit in (
        ((tmp_path / "none", toy_model, toy_data, tmp_path / "card.md"), "none is not a folder"),
        (
            (toy_model, toy_autoencoder, toy_data, tmp_path / "card.md"),
            "has an encoder of another kind (AutoencoderTiny)",
        ),
        ((toy_model, toy_model, toy_data, tmp_path / "card.md"), "card.md is not a file"),
        (
            (student, student, toy_data, card, "--guidance-interval", 0.3, 6),
            "was distilled and samples without guidance",
        ),
    ):
        ended = bundle(*arguments, tmp_path / "out")
        assert ended.exit_code == 1
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert culprit in ended.stderr
        assert not (tmp_path / "out").exists()


def test_a_part_without_its_config_is_named(broken_model: Path) -> None:
    (broken_model / "vae" / "config.json").unlink()
    assert refusal(broken_model).startswith(f"{broken_model / 'vae'} holds no config.json")


def test_the_hash_names_the_model_wherever_it_lies_and_changes_with_any_weight(
    toy_model: Path, broken_model: Path
) -> None:
    assert model_hash(broken_model) == model_hash(toy_model)
    file = broken_model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.bias"][0] += 1e-3
    save_file(tensors, file)
    assert model_hash(broken_model) != model_hash(toy_model)


def test_the_hash_follows_what_sampling_is_told_by_the_capabilities_and_no_other_word_of_them(
    toy_model: Path, broken_model: Path
) -> None:
    path, before = broken_model / "capabilities.json", model_hash(toy_model)
    shown = read_json(path)
    write_json(path, {**shown, "images": 5})
    hashes = [model_hash(broken_model)]
    assert hashes == [before]
    for told in (
        {"style": ["sharp"]},
        {"style": [["sharp", "soft"]]},
        {"guidance_interval": [0.3, 6]},
        {"steps": 8},
        {"decoder_noise": [0.1] * 4},
    ):
        write_json(path, {**shown, **told})
        hashes.append(model_hash(broken_model))
    assert len(set(hashes)) == 6


@pytest.mark.parametrize(
    "told",
    [
        *({"guidance_interval": value} for value in (3, [1], [2, 1], ["a", "b"], [0, 1, 2])),
        *({"style": value} for value in ("sharp", [3], [[]], [["sharp", 3]], [["sharp"], [["soft"]]], [["", "soft"]])),
        *({"decoder_noise": value} for value in (0.1, ["a"], [-0.1], [1e39], [True] * 4, [0.1] * 3)),
        *({"steps": value} for value in (0, 2.5, "8", None)),
        *({"guidance": value} for value in ("1", None, float("nan"))),
    ],
)
def test_what_sampling_cannot_follow_in_the_capabilities_is_refused(broken_model: Path, told: dict) -> None:
    write_json(broken_model / "capabilities.json", told)
    with pytest.raises(BadInput, match=next(iter(told))):
        read_capabilities(broken_model)


def test_an_autoencoder_is_found_in_a_model_its_own_folder_and_a_run(toy_model: Path, toy_autoencoder: Path) -> None:
    in_model, alone = load_autoencoder(toy_model), load_autoencoder(toy_model / "vae")
    assert torch.equal(in_model.quant_conv.weight, alone.quant_conv.weight)
    assert type(load_autoencoder(toy_autoencoder)).__name__ == "AutoencoderTiny"


def test_an_autoencoder_of_another_class_is_refused(broken_model: Path) -> None:
    path = broken_model / "vae" / "config.json"
    path.write_text(path.read_text().replace("AutoencoderKL", "VQModel"))
    with pytest.raises(BadInput, match="autoencoder class 'VQModel' is not supported"):
        load_autoencoder(broken_model)


def test_a_folder_that_says_nothing_gives_no_warnings(stable_diffusion: Path) -> None:
    assert read_capabilities(stable_diffusion) is None
    assert capability_warnings(None, Study(age=63, view="lateral")) == []


def test_capabilities_count_what_was_shown() -> None:
    studies = [
        Study(age=63, sex="F", view="AP", position="supine", devices=("pacemaker",), race="Asian"),
        Study(age=4, sex="F", findings={"Pneumonia": Finding("present", "right", "mild", "lower")}),
        Study(age_group="child", findings={"Pneumonia": Finding("absent"), "Nodule": Finding("uncertain")}),
    ]
    shown = capabilities_of(studies, canonical=True)
    assert shown["images"] == 3
    assert shown["findings"]["Pneumonia"] == 1
    assert shown["absent"] == {"Pneumonia": 1}
    assert shown["uncertain"] == {"Nodule": 1}
    assert shown["sides"] == {"right": 1}
    assert shown["severities"] == {"mild": 1}
    assert shown["zones"] == {"lower": 1}
    assert shown["views"] == {"AP": 1}
    assert shown["positions"] == {"supine": 1}
    assert shown["sexes"] == {"F": 2}
    assert shown["races"] == {"Asian": 1}
    assert shown["devices"] == {"pacemaker": 1}
    assert shown["children"] == 2
    assert shown["age_range"] == [4, 63]
    for study in studies:
        assert capability_warnings(shown, study) == []


def test_looks_are_counted_and_the_one_to_ask_for_is_named() -> None:
    looks = [("source a", "low sharpness", "high contrast"), ("source b", "high sharpness", "medium contrast")]
    shown = capabilities_of([], canonical=True, styles=[*looks, looks[1]])
    assert shown["styles"] == {
        "high contrast": 1,
        "high sharpness": 2,
        "low sharpness": 1,
        "medium contrast": 2,
        "source a": 1,
        "source b": 2,
    }
    assert shown["style"] == ["high sharpness", ["medium contrast", "high contrast"]]
    assert "style" not in capabilities_of([], canonical=True)


SHOWN: dict[str, Any] = capabilities_of(
    [
        Study(age=20, sex="M", view="AP", findings={"Pneumonia": Finding(), "Nodule": Finding("absent")}),
        Study(age=80, sex="F", view="PA", findings={"Pneumonia": Finding("absent")}),
    ],
    canonical=True,
)


@pytest.mark.parametrize(
    ("prompt", "warnings"),
    [
        ("20 year old male. AP view. Pneumonia.", []),
        ("No pneumonia.", []),
        (
            "Right pneumonia.",
            ["the model was never shown the side of a finding: 'right' will have no reliable effect"],
        ),
        (
            "Severe pneumonia.",
            ["the model was never shown the severity of a finding: 'severe' will have no reliable effect"],
        ),
        ("Lateral view.", ["the model was never shown the view 'lateral': it will have no reliable effect"]),
        (
            "AP supine view.",
            ["the model was never shown the position of a patient: 'supine' will have no reliable effect"],
        ),
        ("Asian male.", ["the model was never shown the race of a patient: 'Asian' will have no reliable effect"]),
        ("Pneumothorax.", ["the model was never shown the finding 'Pneumothorax': it will have no reliable effect"]),
        ("No pneumothorax.", ["the model was never shown the finding 'Pneumothorax': it will have no reliable effect"]),
        ("Nodule.", ["the model was never shown 'Nodule' as present: it will have no reliable effect"]),
        ("No nodule.", []),
        (
            "Possible pneumonia.",
            ["the model was never shown 'Pneumonia' as uncertain: it will have no reliable effect"],
        ),
        ("90 year old female.", ["the model was shown ages 20 to 80 only, and 90 lies outside"]),
        ("Child.", ["the model was never shown a child: 'child' will have no reliable effect"]),
        ("Adult.", []),
    ],
)
def test_what_the_model_was_never_shown_is_said_in_one_line_each(prompt: str, warnings: list[str]) -> None:
    assert capability_warnings(SHOWN, read_prompt(prompt).study) == warnings


def test_a_model_without_ages_says_so() -> None:
    shown = capabilities_of([Study(sex="M")], canonical=True)
    assert capability_warnings(shown, Study(age=63)) == [
        "the model was never shown the age of a patient: '63' will have no reliable effect"
    ]
