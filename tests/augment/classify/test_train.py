"""Training a classifier: a stopped run equals an unbroken one, it learns, it is a judge at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from augment.classify import train
from augment.classify.config import Backbone, ClassifierConfig
from augment.classify.network import groups_of, make_classifier, raw_logits, read_classifier, weights_hash
from augment.classify.train import out_of_patience, partners, train_classifier
from gen.core.errors import BadInput
from gen.core.files import verify_folder
from gen.core.manifest import read_manifest
from gen.core.run import read_log
from gen.data.loader import to_pixels_u8
from gen.data.split import split_rows
from gen.images.reader import read_radiograph
from gen.judge.describe import unreliable
from gen.judge.plugins import open_judge, thresholds_of
from gen.model.training import session
from gen.model.training.losses import masked_cross_entropy

Config = Callable[..., ClassifierConfig]


def test_a_stopped_run_goes_on_to_the_same_bits(
    toy_run: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = session.save_checkpoint

    def save_and_stop(*arguments: Any, **more: Any) -> Path:
        save(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(config(tmp_path / "run"))
    monkeypatch.undo()
    folder = train_classifier(config(tmp_path / "run"))
    for name in ("model.safetensors", "thresholds.json", "figures.json"):
        assert (folder / name).read_bytes() == (toy_run / "classifier" / name).read_bytes()
    assert train_classifier(config(toy_run)) == toy_run / "classifier"
    with pytest.raises(BadInput, match="images: 96 -> 128"):
        train_classifier(config(toy_run, "images=128"))


def test_the_folder_is_a_judge_and_its_figures_are_scikit_learns(toy_run: Path, real: Path) -> None:
    from transformers import AutoModelForImageClassification

    folder = toy_run / "classifier"
    assert verify_folder(folder) == []
    assert type(AutoModelForImageClassification.from_pretrained(folder)).__name__ == "ConvNextForImageClassification"
    judge = open_judge(str(folder), device="cpu")
    assert judge.findings == ("No Finding", "Pneumonia")
    assert set(thresholds_of(judge)) == set(judge.findings)
    assert set(unreliable(getattr(judge, "figures"))) <= set(judge.findings)  # noqa: B009  # a plug-in has it
    rows = split_rows(read_manifest(real))["test"]
    seen = judge.read([read_radiograph(row.file).pixels for row in rows]).findings
    truth = [row.findings == ("Pneumonia",) for row in rows]
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["findings"]["Pneumonia"]["auroc"][0] == pytest.approx(roc_auc_score(truth, seen[:, 1]), abs=1e-5)
    assert figures["films"] == len(rows)
    classifier = read_classifier(folder)
    pixels = np.stack([to_pixels_u8(read_radiograph(row.file).pixels, 32) for row in rows])
    np.testing.assert_allclose(1 / (1 + np.exp(-raw_logits(classifier, pixels))), seen, atol=1e-5)


def test_it_learns_from_images_real_and_synthetic(synthetic: Path, config: Config, tmp_path: Path) -> None:
    more = ("images=1536", "learning_rate=1e-2", "validate_every=384", "checkpoint_every=1536")
    for name, which in (("real", ()), ("synthetic", (f"synthetic=[{synthetic}]", "fraction=0"))):
        folder = train_classifier(config(tmp_path / name, *more, *which))
        figures = json.loads((folder / "figures.json").read_text())
        assert figures["findings"]["Pneumonia"]["auroc"][0] > 0.9, name


@pytest.mark.parametrize("kind", ["convnext", "resnet", "vit"])
@pytest.mark.parametrize("learn", ["full", "probe", "progressive"])
def test_what_is_to_stand_still_stands_still(kind: str, learn: str, config: Config, tmp_path: Path) -> None:
    shape = ("hidden_sizes=[8,16]", "depths=[1,1]", "heads=2", "patch=8")
    more = (f"learn={learn}", "images=32", "validate_every=32", "layer_rate=0.5", "ema=0.0")
    folder = train_classifier(
        config(tmp_path / "run", f"backbone.kind={kind}", *(f"backbone.{one}" for one in shape), *more)
    )
    after = read_classifier(folder).network.state_dict()
    torch.manual_seed(0)
    before = make_classifier(
        Backbone(kind=kind, hidden_sizes=[8, 16], depths=[1, 1], heads=2, patch=8), ("No Finding", "Pneumonia"), 32
    )
    moved = {name for name, value in before.network.state_dict().items() if not torch.equal(value, after[name])}
    head = {name for name in moved if name.startswith("classifier.")}
    assert head
    assert (moved == head) == (learn == "probe")


def test_groups_run_from_the_head_to_the_stem_and_hold_every_weight_once() -> None:
    network = make_classifier(Backbone(hidden_sizes=[4, 8, 8], depths=[1, 2, 1]), ("Edema",), 32).network
    names = {id(weight): name for name, weight in network.named_parameters()}
    groups = [[names[id(weight)] for weight in group] for group in groups_of(network)]
    assert sorted(name for group in groups for name in group) == sorted(names.values())
    assert len(groups) == 5
    assert all(name.startswith("classifier.") for name in groups[0])
    assert all("embeddings" in name for name in groups[-1])
    assert [{f"stages.{2 - k}." in name or "layernorm" in name for name in groups[1 + k]} for k in range(3)] == [
        {True}
    ] * 3


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, float("nan")]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_an_unknown_label_carries_no_gradient(labels: list[list[float]]) -> None:
    targets = torch.tensor(labels)
    logits = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    masked_cross_entropy(logits, targets, torch.tensor([1.0, 5.0, 0.2])).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, targets.isnan())


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=8))
def test_what_is_mixed_shares_a_finding(present: list[list[bool]]) -> None:
    labels = torch.tensor(present).float()
    partner, share = partners(labels, range(len(present)))
    for i, j in enumerate(partner.tolist()):
        alone = not any(labels[i, f] == 1 and (labels[:, f] == 1).sum() > 1 for f in range(2))
        assert (j == i) == alone
        assert (share[i] == 0) == alone or share[i] == 0
        assert alone or ((labels[i] == 1) & (labels[j] == 1)).any()


@pytest.mark.parametrize("balance", ["weights", "sampler", "mix"])
def test_every_way_against_imbalance_trains_and_changes_the_weights(
    balance: str, toy_run: Path, config: Config, tmp_path: Path
) -> None:
    uneven = ("fraction=0.7", "seed=1")  # of the ill there are fewer, or more
    folder = train_classifier(config(tmp_path / "run", f"balance={balance}", *uneven))
    plain = train_classifier(config(tmp_path / "plain", *uneven))
    assert weights_hash(read_classifier(folder).network) != weights_hash(read_classifier(plain).network)


def test_it_stops_when_nothing_gets_better(config: Config, tmp_path: Path) -> None:
    assert not out_of_patience({1: 0.5, 8: 0.6, 16: 0.7}, 2)
    assert out_of_patience({16: 0.6, 8: 0.6, 0: 0.5}, 1)
    train_classifier(config(tmp_path / "run", "patience=1", "images=9600", "learning_rate=1e-7", "validate_every=8"))
    assert max(row["images"] for row in read_log(tmp_path / "run")) < 9600
    assert verify_folder(tmp_path / "run" / "classifier") == []


def test_a_finished_classifier_is_a_start_and_keeps_its_head(toy_run: Path, config: Config, tmp_path: Path) -> None:
    before = read_classifier(toy_run / "classifier")
    again = make_classifier(Backbone(folder=str(toy_run / "classifier")), before.findings, 32)
    assert weights_hash(again.network) == weights_hash(before.network)
    torch.manual_seed(1)
    other = make_classifier(Backbone(folder=str(toy_run / "classifier")), ("Edema", "Pneumonia"), 32)
    changed = {k for k, v in other.network.state_dict().items() if not torch.equal(v, before.network.state_dict()[k])}
    assert changed == {"classifier.weight", "classifier.bias"}
    train_classifier(config(tmp_path / "run", f"backbone.folder={toy_run / 'classifier'}", "images=8"))
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["inputs"]["start"] == weights_hash(before.network)


def test_an_encoder_of_another_kind_gets_a_head(config: Config, tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}
    Dinov2Model(Dinov2Config(**shape, patch_size=8, image_size=32)).save_pretrained(tmp_path / "encoder")
    folder = train_classifier(config(tmp_path / "run", f"backbone.folder={tmp_path / 'encoder'}", "learn=probe"))
    assert open_judge(str(folder), device="cpu").read(np.zeros((1, 32, 32), np.uint8)).findings.shape == (1, 2)
    stored = load_file(folder / "model.safetensors")
    assert stored["classifier.weight"].shape == (2, 32)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learn=some", "unknown learn 'some'"),
        ("balance=smote", "unknown balance 'smote'"),
        ("findings=[Cat]", "findings holds 'Cat', which is none"),
        (
            "findings=[Edema,Pneumonia]",
            r"the training set has only one class for Edema \(0 with, 16 without\)",
        ),
        ("fraction=0", "nothing to learn from"),
        ("least_images=400", "no finding has 400 images"),
        ("shuffle_labels=true", "there are none"),
        ("synthetic=[nowhere]", "nowhere holds no metadata.csv"),
        ("backbone.folder={judge}", "is for images of 32 pixels, and size is 64; use size=32"),
        ("backbone.hidden_sizes=[8]", "has 1 stages and backbone.depths 2"),
        ("leave_out=[c]", "no row is of the source 'c'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    toy_run: Path, config: Config, tmp_path: Path, override: str, message: str
) -> None:
    size = ("size=64",) if "{judge}" in override else ()
    with pytest.raises(BadInput, match=message):
        train.train_classifier(config(tmp_path / "run", override.format(judge=toy_run / "classifier"), *size))
    assert not (tmp_path / "run").exists()
