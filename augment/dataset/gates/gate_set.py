"""The gates of a data set: does an image show what its prompt says, is it a whole good radiograph, is it nobody's copy?

What a judge sees gives scores (`scores`), real images give the thresholds (`calibration`). The bundled
judge's numbers of held-out images travel with the package; any other looks at the user's real images when it is opened.

The judge's "artefact" head is no gate. It learnt to tell radiographs from the samples of this very generator, so it
would reject them all, good or bad, and let pass what it fails to see.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.dataset.config import GATES, Gates
from augment.dataset.gates.calibration import (
    Limit,
    Limits,
    RealImage,
    fewest_patients,
    limits_by_group,
    own_patients,
)
from augment.dataset.gates.rates import rates
from augment.dataset.gates.scores import (
    TABLES,
    gate_of,
    label_of,
    look,
    measure,
    outline_of,
    provenance_of,
    read_table,
    reference_of,
    rounded,
    scores_of,
    states_of,
    unlearnt,
    write_table,
)
from augment.dataset.shards.records import ANATOMY, DRR, PlanRow, Verdict
from gen.core.bundled import bundled_judge, bundled_model
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.core.terms import FINDINGS, VIEWS, require_choice
from gen.data.split import data_digest
from gen.judge.framings import VARIED
from gen.judge.judge import Judge, judge_hash, reference_in
from gen.judge.plugins import open_judge
from gen.judge.readings import AnyJudge
from gen.judge.reference import copy_threshold
from gen.statistics.groups import ALL, attributes_of

if TYPE_CHECKING:
    from gen.anatomy.folder import Anatomy

# A probability from which on an image is good enough. Real images often have more, but a threshold up there would keep
# what the judge is surest of, and cost most images of a generator that is a little softer than a radiograph.
ENOUGH = 0.5
# A projection shows what its labels say, for it is made by them; and the judge, who knows radiographs, takes most PA
# projections of the phantom for AP. Their quality it sees as that of radiographs. Copies are looked for where the model
# painted: the index is of images in the model's frame, and a projector that learnt from none of them has none to copy.
OF_PROJECTIONS = {DRR: ("quality", "anatomy"), ANATOMY: ("quality", "copy", "anatomy")}


@dataclass(frozen=True)
class GateSet:
    """A judge with its thresholds. ``images`` are the real ones behind them, ``source`` says where those come from;
    ``without`` has the reason for each kind that has no gate. ``fingerprint`` is a hash of what decides a verdict."""

    judge: AnyJudge
    gates: Gates
    images: tuple[RealImage, ...]
    source: str
    limits: Mapping[str, Limits]
    without: Mapping[str, str]
    fingerprint: str
    anatomy: Anatomy | None = None

    @cached_property
    def views(self) -> frozenset[str]:
        """The views of the real images."""
        return frozenset(image.attributes["view"] for image in self.images if "view" in image.attributes)

    def check(self, image: np.ndarray, row: PlanRow, painted: np.ndarray | None = None) -> Verdict:
        """A verdict on ``image`` (H, W), float in [0, 1] or uint8, as one of ``row``.

        Copies are looked for in ``painted``, the image as the model painted it, where its pose and exposure were drawn.

        A row by projection stands before its gates of OF_PROJECTIONS only, and one of a view that no real image has
        before that of copies, if that is among its gates; else ``nearest`` is None. BadInput for an array that is no
        image.
        """
        gates: Collection[str] = OF_PROJECTIONS.get(row.source, GATES)
        if row.study.view is not None and row.study.view not in self.views:
            gates = [name for name in gates if name == "copy"]
        seen, nearest = look(self.judge, image)
        if painted is not None:
            _, nearest = look(self.judge, painted)
        if "copy" not in gates:
            nearest = None
        scores, thresholds = {}, {}
        outline = outline_of(self.anatomy if "anatomy" in gates else None, image)
        for kind, score in scores_of(seen, nearest, row.study, states_of(row.study), outline).items():
            if kind in self.limits and gate_of(kind) in gates:
                scores[label_of(kind)] = score
                thresholds[label_of(kind)] = self.limits[kind].threshold(attributes_of(row.study))
        return Verdict(
            scores=scores,
            thresholds=thresholds,
            # Written so that a score which is no number fails.
            failed=tuple(name for name in scores if not scores[name] >= thresholds[name]),
            nearest=None if nearest is None or not np.isfinite(nearest) else rounded(nearest),
        )

    def describe(self) -> dict[str, Any]:
        """What a card says of the gates, for JSON: whose they are, and by kind and group the thresholds and who passes,
        as of `rates.rates`."""
        judge = self.judge
        return {
            "judge": {"name": judge.name, "fingerprint": judge.fingerprint, "figures": _own_figures(judge)},
            "gates": list(self.gates.names),
            "pass_rate": self.gates.pass_rate,
            "enough": ENOUGH,
            "least_images": self.gates.least_images,
            "least_patients": own_patients(self.gates.pass_rate),
            "copy_false_alarms": self.gates.copy_false_alarms,
            "real": {
                "source": self.source,
                "images": len(self.images),
                "patients": len({image.patient for image in self.images}),
                "framing": next(iter({image.framing for image in self.images}), ""),
            },
            **rates(self.images, self.limits, self.gates.least_images, self.fit),
            "without": dict(self.without),
        }

    def fit(self, images: Sequence[RealImage]) -> dict[str, Limits]:
        """The limits that ``images`` give at the same rate, of all groups that have enough patients."""
        return limits_of(images, self.gates.pass_rate, 1, fewest_patients(self.gates.pass_rate))[0]


def open_gate_set(
    gates: Gates, model: str | None = None, *, framing: str = VARIED, device: str = "auto", table: Path | None = None
) -> GateSet | None:
    """The judge and the thresholds that ``gates`` asks for, or None where it asks for no gate.

    The thresholds come from real images in ``framing``, one of FRAMINGS, which is to be that of the images judged: what
    holds over several framings together need not hold in one. Images of ``gates.real`` are taken as they are.

    Copies are looked for in the index that the folder ``model`` (None: the bundled one) has of what it learnt from, and
    where it has none by this judge, in the judge's.

    Images of ``gates.real`` are judged here and now, with a progress bar, unless ``table`` has what was measured, which
    is written there; patients whose images are in the judge's reference index are left out, for it learnt from them.
    What else a judge learnt from nobody can see here: it must not be in ``gates.real``. BadInput for settings that
    cannot be, and for gates that the judge has no eyes for; EnvironmentLacks as of `open_judge`.
    """
    check_gates(gates)
    if not gates.names:
        return None
    judge = _judge_of(gates, model, device)
    _check_sight(judge, gates)
    anatomy = _anatomy(gates, device)
    if gates.real is None:
        return gate_set_of(judge, gates, *_images_with(judge, framing, anatomy), anatomy)
    if table is None or not table.is_file():
        images = measure(judge, _held_out(judge, gates.real)[0], anatomy=anatomy)
        source = _source(judge, gates.real)
        if table is None:
            return gate_set_of(judge, gates, images, source, anatomy)
        write_table(table, images, source)
    return gate_set_of(judge, gates, read_table(table), _source(judge, gates.real), anatomy)


def fingerprint_of_gates(gates: Gates, model: str | None = None, *, framing: str = VARIED, device: str = "auto") -> str:
    """A hash of what decides the verdicts, known before any image of ``gates.real`` is judged; "none" without gates.

    Raises what `open_gate_set` does.
    """
    if not gates.names or gates.real is None:
        gate_set = open_gate_set(gates, model, framing=framing, device=device)
        return "none" if gate_set is None else gate_set.fingerprint
    check_gates(gates)
    judge = _judge_of(gates, model, device)
    _check_sight(judge, gates)
    rows, _ = _held_out(judge, gates.real)
    facts = json.dumps([*_eyes(judge, _anatomy(gates, device)), data_digest({"real": rows})])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def gate_set_of(
    judge: AnyJudge, gates: Gates, images: Sequence[RealImage], source: str, anatomy: Anatomy | None = None
) -> GateSet:
    """The gate set that ``images`` give, as ``judge``, and ``anatomy`` where there is its gate, measured them."""
    wanted = tuple(
        replace(image, scores={kind: score for kind, score in image.scores.items() if gate_of(kind) in gates.names})
        for image in images
    )
    limits, without = limits_of(wanted, gates.pass_rate, gates.least_images, own_patients(gates.pass_rate))
    reference = reference_of(judge)
    if "copy" in gates.names and reference is not None:
        distances = np.array([rounded(distance) for distance in reference.held_out])
        threshold, _ = copy_threshold(distances, gates.copy_false_alarms)
        limits["copy"] = Limits({ALL: Limit(threshold, len(distances), None)}, {})
    if "finding" in gates.names:
        for name in FINDINGS:
            if name not in judge.findings:
                without[f"finding: {name}"] = "the judge does not know it"
            elif f"finding: {name}" not in limits:
                without.setdefault(f"finding: {name}", "there is no real image of it")
    for view in VIEWS:
        if not any(image.attributes.get("view") == view for image in images):
            without[f"view: {view}"] = "there is no real image of it, so its images pass the gate of copies only"
    thresholds = {kind: {key: limit.threshold for key, limit in each.groups.items()} for kind, each in limits.items()}
    views = sorted({image.attributes.get("view", "") for image in images})
    facts = json.dumps([*_eyes(judge, anatomy), views, thresholds], sort_keys=True)
    fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return GateSet(judge, gates, wanted, source, limits, dict(sorted(without.items())), fingerprint, anatomy)


def warnings_of_gates(gates: Gates, model: str | None) -> list[str]:
    """A warning where copies are looked for among the images of another generator than ``model``, else none."""
    if model is None or gates.judge or "copy" not in gates.names or Path(model).resolve() == bundled_model().resolve():
        return []
    if reference_in(Path(model), judge_hash(bundled_judge())) is not None:
        return []
    return [
        f"{model} has no index of what it learnt from, so copies are looked for among the images of the bundled model: "
        "`gen train reference DATA --out JUDGE` makes one, and gates.judge=JUDGE takes it"
    ]


def _judge_of(gates: Gates, model: str | None, device: str) -> AnyJudge:
    judge = open_judge(gates.judge, device=device)
    if model is not None and isinstance(judge, Judge):
        judge = replace(judge, reference=reference_in(Path(model), judge.fingerprint) or judge.reference)
    return judge


def _anatomy(gates: Gates, device: str) -> Anatomy | None:
    """The bundled anatomy network where there is its gate; BadInput where there is no such network."""
    if "anatomy" not in gates.names:
        return None
    from gen.anatomy.folder import load_anatomy
    from gen.model.device import pick_device

    return load_anatomy(device=str(pick_device(device)))


def _eyes(judge: AnyJudge, anatomy: Anatomy | None) -> list[str]:
    """Hashes of all that looks at an image."""
    return [judge.fingerprint, _index_hash(judge), *([] if anatomy is None else [anatomy.fingerprint])]


def _index_hash(judge: AnyJudge) -> str:
    reference = reference_of(judge)
    return "" if reference is None else hashlib.sha256(reference.codes.tobytes()).hexdigest()


def limits_of(
    images: Sequence[RealImage], pass_rate: float, least_images: int, least_patients: int
) -> tuple[dict[str, Limits], dict[str, str]]:
    """As of `limits_by_group`, no threshold of a probability above ENOUGH, and none for copies: that is not up to
    groups."""
    limits, without = limits_by_group(
        [_without_copy(image) for image in images], pass_rate, least_images, least_patients
    )
    for kind, each in limits.items():
        groups = {key: replace(limit, threshold=min(limit.threshold, ENOUGH)) for key, limit in each.groups.items()}
        limits[kind] = replace(each, groups=groups)  # scores of ages are never above 0
    return limits, without


def check_gates(gates: Gates) -> None:
    """BadInput, naming the key, for what no gate can be."""
    for name in gates.names:
        require_choice("gates.names", name, GATES)
    for key in ("pass_rate", "copy_false_alarms"):
        if not 0 < getattr(gates, key) < 1:
            raise BadInput(f"gates.{key} is {getattr(gates, key):g}", hint="a share lies between 0 and 1")
    for key, least in (("least_images", 1), ("attempts", 1), ("substitutes", 0)):
        if getattr(gates, key) < least:
            raise BadInput(f"gates.{key} is {getattr(gates, key)}", hint=f"it is {least} or more")


def _images_with(judge: AnyJudge, framing: str, anatomy: Anatomy | None = None) -> tuple[list[RealImage], str]:
    """The held-out images that came with ``judge``, as it sees them in ``framing``; BadInput where ``anatomy`` is
    given, and another network or none looked at them."""
    table = TABLES / f"{judge.fingerprint}.csv"
    if not table.is_file():
        raise BadInput(
            f"no measurements of real images came with the judge {judge.name} ({judge.fingerprint})",
            hint="gates.real names a data set of real images that it did not learn from",
        )
    if anatomy is not None and anatomy.fingerprint not in re.findall(r"\w+", provenance_of(table)):
        raise BadInput(
            f"no measurements of real images came with the anatomy network {anatomy.name} ({anatomy.fingerprint})",
            hint="gates.real names a data set of real images, or leave the gate 'anatomy' out",
        )
    images, reference = [image for image in read_table(table) if image.framing == framing], reference_of(judge)
    near = sorted(image.scores["copy"] for image in images if "copy" in image.scores)
    if (
        reference is None
        or len(near) != len(reference.held_out)
        or not np.allclose(near, reference.held_out, atol=1e-3)
    ):
        # The index of another generator: distances to the images of this one's say nothing.
        images = [_without_copy(image) for image in images]
    return images, f"held-out images of the judge's own data ({table.name})"


def _without_copy(image: RealImage) -> RealImage:
    return replace(image, scores={kind: score for kind, score in image.scores.items() if kind != "copy"})


def _held_out(judge: AnyJudge, folder: str) -> tuple[list[Row], int]:
    """The images of ``folder`` that ``judge`` did not learn from, as far as it says, and how many there are in all."""
    every = read_manifest(folder).rows
    rows = unlearnt(judge, every)
    if not rows:
        raise BadInput(
            f"gates.real: the judge {judge.name} learnt from images of every patient of {folder}",
            hint="name images of other patients",
        )
    return rows, len(every)


def _source(judge: AnyJudge, folder: str) -> str:
    rows, every = _held_out(judge, folder)
    left_out = f", without {every - len(rows)} of patients that the judge learnt from" if len(rows) < every else ""
    return f"{len(rows)} images of {Path(folder).name}{left_out}"


def _check_sight(judge: AnyJudge, gates: Gates) -> None:
    """BadInput where ``judge`` has nothing to say at one of the gates."""
    seen, nearest = look(judge, np.zeros((8, 8), np.uint8))
    answers = {
        "finding": bool(judge.findings),
        "sex": seen.female is not None,
        "age": seen.age is not None,
        "view": seen.ap is not None,
        "quality": bool(seen.quality),
        "copy": nearest is not None,
        "anatomy": True,  # not the judge's to say
    }
    if mute := [name for name in gates.names if not answers[name]]:
        raise BadInput(
            f"gates.names: the judge {judge.name} has nothing to say of {', '.join(mute)}"
            + (", for it has no reference index of training images" if "copy" in mute else ""),
            hint="leave that out, or take a judge of `gen train judge`",
        )


def _own_figures(judge: AnyJudge) -> dict[str, Any]:
    """What ``judge`` was worth on held-out images: AUROC by head, and its error of the age in years, with intervals."""
    if not isinstance(judge, Judge) or not judge.figures:
        return {}
    figures = judge.figures
    heads = {**figures.get("findings", {}), **{name: figures.get(name, {}) for name in ("female", "AP", "child")}}
    return {
        "images": figures.get("films"),
        "patients": figures.get("patients"),
        "auroc": {name: facts["auroc"] for name, facts in heads.items() if "auroc" in facts},
        "age_error_years": figures.get("groups", {}).get("all", {}).get("age_error_years"),
    }
