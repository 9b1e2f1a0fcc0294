"""The arms of a comparison: which images each learns from, in which stages, and how often.

All arms of one seed start from the same weights and see the same number of images; one that is pretrained spends a
part of them there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from augment.classify.config import BALANCES, Backbone, ClassifierConfig
from augment.classify.finish import FOLDER
from gen.core.config import number
from gen.core.errors import BadInput
from gen.core.terms import require_choice, suggestion

REAL = "real"  # the name of the real training patients among the sets


@dataclass(frozen=True)
class Arm:
    """How one arm learns. Sets are "real" or names of ``sets`` and ``real_sets``."""

    learn_from: list[str] = field(default_factory=lambda: [REAL])
    pretrain_on: list[str] = field(default_factory=list)  # first, on a share of all images; empty: not at all
    shuffle_labels: bool = False  # of the synthetic images: the control that says whether their labels did anything
    # Times the movements of the config, in pretraining: with pretrain_on: [real] the control without synthetic images.
    stronger: float = 1.0
    balance: str = ""  # instead of the config's
    once: bool = False  # with the largest amount of real images alone, not with each


@dataclass(frozen=True)
class CompareConfig(ClassifierConfig):
    """`gen classify compare`: the keys of a classifier, which all arms share, and what they differ in.

    ``fraction``, ``shots``, ``synthetic``, ``derived``, ``originals``, ``shuffle_labels`` and ``seed`` are said by the
    arms and the lists below.
    """

    sets: dict[str, str] = field(default_factory=dict)  # synthetic sets by name: their folders
    # The real training images as another command made them, by name: folders as of ``derived``.
    real_sets: dict[str, str] = field(default_factory=dict)
    tests: dict[str, str] = field(default_factory=dict)  # further test sets, beside the test patients of ``data``
    arms: dict[str, Arm] = field(default_factory=dict)
    baseline: str = REAL  # the arm that the others are compared with
    question: str = "pretrained"  # the arm that the verdict is about
    fractions: list[float] = field(default_factory=lambda: [1.0])  # of the real training patients
    few_shots: list[int] = field(default_factory=list)  # patients with each finding
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    pretrain_share: float = number(0.5, share=True)  # of ``images``, where an arm is pretrained
    draws: int = number(5000, above=0)  # of patients, for intervals and p values
    # Arms to train and report now; empty: all. The others come later, by the same command without this key.
    only: list[str] = field(default_factory=list)
    probes: bool = False  # score also images with blanked organs, and with all else blanked
    small: int = number(20, above=0)  # patients, below which a group is shown as small and is no worst group


@dataclass(frozen=True)
class Cell:
    """One training of the comparison: an arm, how much real data, a seed."""

    arm: str
    fraction: float
    shots: int
    seed: int

    @property
    def amount(self) -> str:
        """How much real data, for people: "25 %", "5 shots", "none"."""
        return f"{self.shots} shots" if self.shots else f"{100 * self.fraction:g} %" if self.fraction else "none"

    @property
    def key(self) -> str:
        """The place of its folder in the run."""
        return f"{self.arm}/{self.amount.replace(' %', '-percent').replace(' ', '-')}/seed-{self.seed}"


@dataclass(frozen=True)
class Stage:
    """A run of `gen classify train`: its config, whose ``out`` is the run folder."""

    config: ClassifierConfig

    @property
    def result(self) -> Path:
        """The folder of transformers that it ends with."""
        return Path(self.config.out) / FOLDER


def check_arms(config: CompareConfig) -> None:
    """Raise BadInput, naming it, for what ``config`` says of arms and cannot be."""
    if config != replace(config, synthetic=[], derived=[], originals=True, shots=0, shuffle_labels=False, fraction=1.0):
        raise BadInput(
            "synthetic, derived, originals, shots, shuffle_labels and fraction are said by arms, fractions and "
            "few_shots"
        )
    for name in {REAL, *config.real_sets} & set(config.sets) | {REAL} & set(config.real_sets):
        raise BadInput(f"two sets are called {name!r}", hint=f"{REAL} are the images of data; give others other names")
    if len(config.arms) < 2:
        raise BadInput(f"arms has {len(config.arms)}, and a comparison needs two")
    for key in ("baseline", "question"):
        if (name := getattr(config, key)) not in config.arms:
            raise BadInput(f"{key} is {name!r}, which is no arm", hint=suggestion(name, config.arms))
    if config.baseline == config.question:
        raise BadInput(f"baseline and question are both {config.baseline!r}")
    for name, arm in config.arms.items():
        for used in (*arm.learn_from, *arm.pretrain_on):
            if used not in (known := (REAL, *config.real_sets, *config.sets)):
                raise BadInput(f"arm {name}: there is no set {used!r}", hint=suggestion(used, known))
        if not arm.learn_from:
            raise BadInput(f"arm {name} has nothing in learn_from")
        if arm.shuffle_labels and not folders_of(arm, config):
            raise BadInput(f"arm {name} shuffles the labels of synthetic images, and has none")
        if arm.balance:
            require_choice(f"balance of arm {name}", arm.balance, BALANCES)
    base = config.arms[config.baseline]
    if base.once or REAL not in (*base.learn_from, *base.pretrain_on):
        raise BadInput(
            f"baseline {config.baseline!r} is needed at every amount of real images", hint="take another arm"
        )
    if config.only:
        _check_only(config)
    for key, listed, fitting in (
        ("seeds", config.seeds, True),
        ("fractions", config.fractions, all(0 < one <= 1 for one in config.fractions)),
        ("few_shots", config.few_shots or [1], all(one > 0 for one in config.few_shots)),
    ):
        if not listed or not fitting or len(set(listed)) < len(listed):
            raise BadInput(
                f"{key} is {listed}", hint="list each once; fractions are above 0 and at most 1, shots above 0"
            )


def _check_only(config: CompareConfig) -> None:
    for name in config.only:
        if name not in config.arms:
            raise BadInput(f"only names {name!r}, which is no arm", hint=suggestion(name, config.arms))
    if config.baseline not in config.only or len(set(config.only)) < 2:
        raise BadInput(
            f"only is [{', '.join(config.only)}]", hint=f"name the baseline {config.baseline}, and an arm beside it"
        )
    if not config.findings:
        raise BadInput(
            "only is given and findings is empty: the sets of the other arms may change what all of them learn",
            hint="name the findings",
        )


def chosen_arms(config: CompareConfig) -> CompareConfig:
    """``config`` with the arms of ``only`` and their sets alone. Where the question is not among them, it is the first
    of them that is not the baseline."""
    if not config.only:
        return config
    arms = {name: arm for name, arm in config.arms.items() if name in config.only}
    used = {name for arm in arms.values() for name in (*arm.pretrain_on, *arm.learn_from)}
    return replace(
        config,
        only=[],
        arms=arms,
        sets={name: folder for name, folder in config.sets.items() if name in used},
        real_sets={name: folder for name, folder in config.real_sets.items() if name in used},
        question=config.question if config.question in arms else next(one for one in arms if one != config.baseline),
    )


def require_sets(config: CompareConfig) -> None:
    """BadInput, naming set and arms, for a set that has no folder yet."""
    for name, folder in {**config.sets, **config.real_sets}.items():
        arms = [arm for arm, of in config.arms.items() if name in (*of.pretrain_on, *of.learn_from)]
        if arms and not Path(folder).is_dir():
            raise BadInput(
                f"{folder}, the set {name} of {', '.join(arms)}, is no folder",
                hint="make it, or train arms that do not need it first: only=[ARM,...]",
            )


def folders_of(arm: Arm, config: CompareConfig) -> list[str]:
    """The folders of the synthetic sets that ``arm`` learns from or is pretrained on, each once."""
    used = (*arm.pretrain_on, *arm.learn_from)
    return list(dict.fromkeys(config.sets[name] for name in used if name in config.sets))


def has_real(names: Sequence[str], config: CompareConfig) -> bool:
    """Whether one of the sets ``names`` shows real patients."""
    return any(name not in config.sets for name in names)


def cells_of(config: CompareConfig) -> list[Cell]:
    """All trainings, seed by seed: an arm without real images once a seed, the others for each amount or once."""
    amounts = [*((fraction, 0) for fraction in sorted(config.fractions, reverse=True))]
    amounts += [(1.0, shots) for shots in sorted(config.few_shots, reverse=True)]
    cells = []
    for seed in config.seeds:
        for name, arm in config.arms.items():
            real = has_real((*arm.learn_from, *arm.pretrain_on), config)
            own = (amounts[:1] if arm.once else amounts) if real else [(0.0, 0)]
            cells += [Cell(name, *amount, seed) for amount in own]
    return cells


def stages_of(cell: Cell, config: CompareConfig, findings: tuple[str, ...]) -> list[Stage]:
    """The trainings of ``cell`` one after the other. A pretraining without real images is shared by all amounts."""
    arm = config.arms[cell.arm]
    out = Path(config.out)
    shared = {one.name: getattr(config, one.name) for one in dataclasses.fields(ClassifierConfig)}
    shared |= {"seed": cell.seed, "findings": list(findings), "balance": arm.balance or config.balance}

    def stage(folder: Path, names: list[str], images: int, **more: object) -> Stage:
        with_real = has_real(names, config)
        which = [config.sets[name] for name in names if name in config.sets]
        values: dict[str, Any] = {
            **shared,
            "out": str(folder),
            "images": images,
            "synthetic": which,
            "derived": [config.real_sets[name] for name in names if name in config.real_sets],
            "originals": REAL in names,
            "fraction": cell.fraction if with_real else 0.0,
            "shots": cell.shots if with_real else 0,
            "shuffle_labels": arm.shuffle_labels and bool(which),
            **more,
        }
        return Stage(ClassifierConfig(**values))

    own = out / "arms" / cell.key
    if not arm.pretrain_on:
        return [stage(own, arm.learn_from, config.images)]
    own_start = has_real(arm.pretrain_on, config)
    place = out / "pretraining" / (cell.key if own_start else f"{cell.arm}/seed-{cell.seed}")
    step = config.batch_size * config.accumulate
    first = max(step, int(config.images * config.pretrain_share) // step * step)
    moves = {one: arm.stronger * value for one, value in vars(config.augmentation).items()}
    pretraining = stage(place, arm.pretrain_on, first, augmentation=replace(config.augmentation, **moves))
    start = Backbone(folder=str(pretraining.result))
    return [pretraining, stage(own, arm.learn_from, config.images - first, backbone=start)]


def control_arms(config: CompareConfig) -> Mapping[str, str]:
    """The arms that tell why an arm helps, with what each of them says."""
    said = {}
    for name, arm in config.arms.items():
        if arm.shuffle_labels:
            said[name] = "the same synthetic images with shuffled labels"
        elif arm.pretrain_on == [REAL]:
            said[name] = "real images alone in the same two stages"
    return said
