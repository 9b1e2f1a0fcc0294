"""Training the anatomy network: a stopped run equals an unbroken one, and what is unknown teaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from augment.anatomy.bodies import Body, bodies_of, digest_of
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.pairs import pool, superseded
from augment.anatomy.train import losses, train_anatomy, unpacked
from drr.ct.collections import COLLECTIONS
from gen.anatomy.folder import load_anatomy
from gen.anatomy.network import ORGANS
from gen.core.errors import BadInput
from gen.core.files import read_json, verify_folder
from gen.model.training import session

Config = Callable[..., AnatomyConfig]
LAST = "checkpoints/images-000000032"


def test_a_stopped_run_goes_on_to_the_same_bits(
    toy_run: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = session.save_checkpoint

    def save_and_stop(*arguments: Any, **more: Any) -> Path:
        save(*arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_anatomy(config(tmp_path / "run"))
    monkeypatch.undo()
    train_anatomy(config(tmp_path / "run"))
    for part in ("anatomy", "anatomy.ema", "anatomy.optimizer"):
        one, other = (load_file(run / LAST / "state" / f"{part}.safetensors") for run in (toy_run, tmp_path / "run"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_folder_is_whole_and_its_card_has_every_organ(toy_run: Path) -> None:
    folder = toy_run / "anatomy"
    assert not verify_folder(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    figures = read_json(folder / "figures.json")["dice"]["As rendered"]["phantoms"]
    for organ in ORGANS:
        assert f"| {organ} |" in card
        assert figures[organ]["n"] > 0 or organ in ("right clavicle", "left clavicle")
    assert load_anatomy(folder).probabilities(np.zeros((1, 40, 50), np.float32)).shape == (1, len(ORGANS), 40, 50)


def test_projections_are_made_once_and_alike(config: Config, toy_run: Path, toy_pool: Path, tmp_path: Path) -> None:
    wanted = config(tmp_path / "run")
    body = bodies_of(wanted)["train"][0]
    [path] = toy_pool.glob(f"{body.name}-*.npy")
    before = path.stat().st_mtime_ns
    made = pool(wanted, body)
    assert path.stat().st_mtime_ns == before
    assert len(made) == wanted.scenes * wanted.poses
    elsewhere = config(tmp_path / "run", f"pool={tmp_path / 'pool'}")
    assert pool(elsewhere, body).tobytes() == made.tobytes()


def test_projections_that_are_made_again_are_told_and_those_of_others_are_not(config: Config, tmp_path: Path) -> None:
    wanted = config(tmp_path / "run", f"pool={tmp_path / 'pool'}")
    (tmp_path / "pool").mkdir()
    body = Body("a")
    for other in ("a-b.npy", "b.npy", f"a-{digest_of(body)}.npy"):
        (tmp_path / "pool" / other).touch()
        assert superseded(wanted, [body]) == []
    (tmp_path / "pool" / f"a-{digest_of(body)}.npy").unlink()
    for old in ("a.npy", f"a-{digest_of(Body('a', unknown=('heart',)))}.npy"):
        (tmp_path / "pool" / old).touch()
        assert superseded(wanted, [body]) == ["a"]
        (tmp_path / "pool" / old).unlink()


def test_another_pool_is_refused(config: Config, toy_run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="poses"):
        train_anatomy(config(tmp_path / "run", "poses=3"))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused_before_anything_is_projected(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    with pytest.raises(BadInput, match="not a run folder"):
        train_anatomy(config(tmp_path / "run", f"pool={tmp_path / 'pool'}"))
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize("file", ["ct", "labels", "atlas", "atlas labels"])
def test_a_body_of_which_any_file_changed_is_another(tmp_path: Path, file: str) -> None:
    paths = {name: tmp_path / name for name in ("ct", "labels", "atlas", "atlas labels")}
    for name, path in paths.items():
        path.write_text(name)
    atlas = Body("atlas", ct=paths["atlas"], labels=paths["atlas labels"])
    body = Body("body", ct=paths["ct"], labels=paths["labels"], atlas=atlas)
    before = digest_of(body)
    paths[file].write_text("changed")
    assert digest_of(body) != before
    paths[file].write_text(file)
    assert digest_of(body) == before
    paths[file].unlink()
    with pytest.raises(BadInput, match=f"cannot read .*{file}: No such file"):
        digest_of(body)


def test_a_ct_that_is_a_folder_is_another_when_a_slice_changed(tmp_path: Path) -> None:
    ct = tmp_path / "ct"
    ct.mkdir()
    (ct / "1.dcm").write_text("slice")
    before = digest_of(Body("body", ct=ct))
    (ct / "2.dcm").write_text("another")
    assert digest_of(Body("body", ct=ct)) != before


@pytest.mark.parametrize("key", ["held_out", "leave_out"])
def test_a_ct_that_is_not_there_is_refused_by_name(config: Config, tmp_path: Path, key: str) -> None:
    with pytest.raises(BadInput, match="lidc"):
        bodies_of(config(tmp_path / "run", f"{key}=[lidc]"))


def test_only_cts_that_weights_may_learn_from_count(config: Config, tmp_path: Path) -> None:
    rows = ["file,source,licence,weights_may_learn", "a.nii.gz,X,CC BY,yes", "b.nii.gz,X,CC BY-NC,no"]
    rows += ["a.seg.nii.gz,Y,MIT,yes", "c.nii.gz,X,CC BY,yes"]
    (tmp_path / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    bodies = bodies_of(config(tmp_path / "run", f"data={tmp_path}", "held_out=[c]", "atlas=a"))
    cts = {split: [body for body in listed if body.number is None] for split, listed in bodies.items()}
    assert [body.name for body in cts["train"]] == ["a"]
    assert [body.name for body in cts["validation"]] == ["c"]
    assert cts["validation"][0].atlas is None  # figures are never measured on what was guessed
    with pytest.raises(BadInput, match="'b'"):
        bodies_of(config(tmp_path / "run", f"data={tmp_path}", "leave_out=[b]"))


def test_two_cts_of_one_name_are_refused_and_not_one_lost(config: Config, tmp_path: Path) -> None:
    rows = ["file,source,licence,weights_may_learn", "a.1.nii.gz,X,CC BY,yes", "a.2.nii.gz,X,CC BY,yes"]
    (tmp_path / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(BadInput, match=r"a\.1\.nii\.gz and a\.2\.nii\.gz have one name"):
        bodies_of(config(tmp_path / "run", f"data={tmp_path}"))


@pytest.mark.parametrize("table", [None, "file,source\n"])
def test_an_index_that_cannot_be_used_is_refused(config: Config, tmp_path: Path, table: str | None) -> None:
    if table is not None:
        (tmp_path / "index.csv").write_text(table, encoding="utf-8")
    with pytest.raises(BadInput, match=r"index\.csv"):
        bodies_of(config(tmp_path / "run", f"data={tmp_path}"))


def test_an_unknown_organ_teaches_nothing_and_a_known_one_does() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, len(ORGANS), 16, 16, generator=generator, requires_grad=True)
    masks = (torch.rand(2, len(ORGANS), 16, 16, generator=generator) > 0.5).float()
    known = torch.ones(2, len(ORGANS))
    known[0, 3] = known[1, 7] = 0
    sum(losses(logits, masks, known).values()).backward()  # type: ignore[union-attr]  # a tensor
    assert logits.grad is not None
    moved = logits.grad.abs().sum((2, 3)) > 0
    assert torch.equal(moved, known > 0)


def test_masks_that_are_found_exactly_cost_nothing() -> None:
    masks = (torch.rand(3, len(ORGANS), 16, 16) > 0.5).float()
    terms = losses((masks - 0.5) * 100, masks, torch.ones(3, len(ORGANS)))
    assert all(float(term) < 1e-5 for term in terms.values())


def test_bits_are_organs_in_order() -> None:
    for i in range(len(ORGANS)):
        assert torch.equal(unpacked(np.array([1 << i], np.uint16))[0], torch.eye(len(ORGANS))[i])


def test_collections_are_told_apart_by_their_names() -> None:
    names = [each.name for each in COLLECTIONS]
    assert not any(one != other and one.startswith(other) for one in names for other in names)
