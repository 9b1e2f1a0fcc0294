"""The gates of a data set: does an image show what its prompt says, is it a whole good film, is it nobody's copy?

What a judge sees gives scores (`scores`), real films give the thresholds (`calibration`). The bundled
judge's numbers of held-out films travel with the package; any other looks at the user's real films when it is opened.

The judge's "artefact" head is no gate. It learnt to tell films from the samples of this very generator, so it would
reject them all, good or bad, and let pass what it fails to see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.config import GATES, Gates
from augment.dataset.gates.calibration import (
    Film,
    Limit,
    Limits,
    calibrate,
    fewest_patients,
    own_patients,
)
from augment.dataset.gates.rates import rates
from augment.dataset.gates.scores import (
    TABLES,
    gate_of,
    look,
    measure,
    read_table,
    reference_of,
    rounded,
    scores_of,
    spoken,
    states_of,
    unlearnt,
    write_table,
)
from augment.dataset.shards.records import DRR, PlanRow, Verdict
from gen.core.errors import BadInput
from gen.core.manifest import Row, read_manifest
from gen.core.terms import FINDINGS, VIEWS, require_choice
from gen.data.split import data_digest
from gen.judge.judge import Judge
from gen.judge.plugins import open_judge
from gen.judge.readings import AnyJudge
from gen.judge.reference import calibrate as copy_threshold
from gen.statistics.groups import ALL, attributes_of

# A probability from which on an image is good enough. Real films often have more, but a threshold up there would keep
# what the judge is surest of, and cost most images of a generator that is a little softer than a film.
ENOUGH = 0.5
# A projection shows what its labels say, for it is made by them; and the judge, who knows films, takes most PA
# projections of the phantom for AP. Their quality it sees as that of films.
OF_PROJECTIONS = ("quality", "copy")


@dataclass(frozen=True)
class Panel:
    """A judge with its thresholds. ``films`` are the real ones behind them, ``source`` says where those come from;
    ``without`` has the reason for each kind that has no gate. ``identity`` is a hash of what decides a verdict."""

    judge: AnyJudge
    gates: Gates
    films: tuple[Film, ...]
    source: str
    limits: Mapping[str, Limits]
    without: Mapping[str, str]
    identity: str

    @cached_property
    def views(self) -> frozenset[str]:
        """The views of the real films."""
        return frozenset(film.attributes["view"] for film in self.films if "view" in film.attributes)

    def check(self, image: np.ndarray, row: PlanRow) -> Verdict:
        """A verdict on ``image`` (H, W), float in [0, 1] or uint8, as one of ``row``.

        A row by projection stands before the gates of OF_PROJECTIONS only, and one of a view that no real film has
        before that of copies. BadInput for an array that is no image.
        """
        seen, nearest = look(self.judge, image)
        gates: Collection[str] = OF_PROJECTIONS if row.source == DRR else GATES
        if row.study.view is not None and row.study.view not in self.views:
            gates = ("copy",)
        scores, thresholds = {}, {}
        for kind, score in scores_of(seen, nearest, row.study, states_of(row.study)).items():
            if kind in self.limits and gate_of(kind) in gates:
                scores[spoken(kind)] = score
                thresholds[spoken(kind)] = self.limits[kind].threshold(attributes_of(row.study))
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
        return {
            "judge": {"name": self.judge.name, "identity": self.judge.fingerprint, "figures": _own_figures(self.judge)},
            "gates": list(self.gates.names),
            "pass_rate": self.gates.pass_rate,
            "enough": ENOUGH,
            "least_films": self.gates.least_films,
            "least_patients": own_patients(self.gates.pass_rate),
            "copy_false_alarms": self.gates.copy_false_alarms,
            "real": {
                "source": self.source,
                "films": len(self.films),
                "patients": len({film.patient for film in self.films}),
            },
            **rates(self.films, self.limits, self.gates.least_films, self.fit),
            "without": dict(self.without),
        }

    def fit(self, films: Sequence[Film]) -> dict[str, Limits]:
        """The limits that ``films`` give at the same rate, of all groups that have enough patients."""
        return limits_of(films, self.gates.pass_rate, 1, fewest_patients(self.gates.pass_rate))[0]


def open_panel(gates: Gates, *, device: str = "auto", table: Path | None = None) -> Panel | None:
    """The judge and the thresholds that ``gates`` asks for, or None where it asks for no gate.

    Films of ``gates.real`` are judged here and now, with a progress bar, unless ``table`` has what was measured, which
    is written there; patients whose films are in the judge's reference index are left out, for it learnt from them.
    What else a judge learnt from nobody can see here: it must not be in ``gates.real``. BadInput for settings that
    cannot be, and for gates that the judge has no eyes for; EnvironmentLacks as of `open_judge`.
    """
    check_gates(gates)
    if not gates.names:
        return None
    judge = open_judge(gates.judge, device=device)
    _check_sight(judge, gates)
    if gates.real is None:
        return panel_of(judge, gates, *_films_with(judge))
    if table is None or not table.is_file():
        films, source = measure(judge, _strangers(judge, gates.real)[0]), _source(judge, gates.real)
        if table is None:
            return panel_of(judge, gates, films, source)
        write_table(table, films, source)
    return panel_of(judge, gates, read_table(table), _source(judge, gates.real))


def identity_of_gates(gates: Gates, *, device: str = "auto") -> str:
    """A hash of what decides the verdicts, known before any film of ``gates.real`` is judged; "none" without gates.

    Raises what `open_panel` does.
    """
    if not gates.names or gates.real is None:
        panel = open_panel(gates, device=device)
        return "none" if panel is None else panel.identity
    check_gates(gates)
    judge = open_judge(gates.judge, device=device)
    _check_sight(judge, gates)
    rows, _ = _strangers(judge, gates.real)
    facts = json.dumps([judge.fingerprint, _index_hash(judge), data_digest({"real": rows})])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def panel_of(judge: AnyJudge, gates: Gates, films: Sequence[Film], source: str) -> Panel:
    """The panel that ``films`` give, as ``judge`` measured them."""
    wanted = tuple(
        replace(film, scores={kind: score for kind, score in film.scores.items() if gate_of(kind) in gates.names})
        for film in films
    )
    limits, without = limits_of(wanted, gates.pass_rate, gates.least_films, own_patients(gates.pass_rate))
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
                without.setdefault(f"finding: {name}", "there is no real film of it")
    for view in VIEWS:
        if not any(film.attributes.get("view") == view for film in films):
            without[f"view: {view}"] = "there is no real film of it, so its images pass the gate of copies only"
    thresholds = {kind: {key: limit.threshold for key, limit in each.groups.items()} for kind, each in limits.items()}
    views = sorted({film.attributes.get("view", "") for film in films})
    facts = json.dumps([judge.fingerprint, _index_hash(judge), views, thresholds], sort_keys=True)
    identity = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return Panel(judge, gates, wanted, source, limits, dict(sorted(without.items())), identity)


def _index_hash(judge: AnyJudge) -> str:
    reference = reference_of(judge)
    return "" if reference is None else hashlib.sha256(reference.codes.tobytes()).hexdigest()


def limits_of(
    films: Sequence[Film], pass_rate: float, least_films: int, least_patients: int
) -> tuple[dict[str, Limits], dict[str, str]]:
    """As of `calibrate`, no threshold of a probability above ENOUGH, and none for copies: that is not up to groups."""
    limits, without = calibrate([_without_copy(film) for film in films], pass_rate, least_films, least_patients)
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
    for key, least in (("least_films", 1), ("attempts", 1), ("substitutes", 0)):
        if getattr(gates, key) < least:
            raise BadInput(f"gates.{key} is {getattr(gates, key)}", hint=f"it is {least} or more")


def _films_with(judge: AnyJudge) -> tuple[list[Film], str]:
    """The held-out films that came with ``judge``, as it sees them."""
    table = TABLES / f"{judge.fingerprint}.csv"
    if not table.is_file():
        raise BadInput(
            f"no measurements of real films came with the judge {judge.name} ({judge.fingerprint})",
            hint="gates.real names a data set of real films that it did not learn from",
        )
    films, reference = read_table(table), reference_of(judge)
    near = sorted(film.scores["copy"] for film in films)
    if (
        reference is None
        or len(near) != len(reference.held_out)
        or not np.allclose(near, reference.held_out, atol=1e-3)
    ):
        # The index of another generator: distances to the films of this one's say nothing.
        films = [_without_copy(film) for film in films]
    return films, f"held-out films of the judge's own data ({table.name})"


def _without_copy(film: Film) -> Film:
    return replace(film, scores={kind: score for kind, score in film.scores.items() if kind != "copy"})


def _strangers(judge: AnyJudge, folder: str) -> tuple[list[Row], int]:
    """The films of ``folder`` that ``judge`` did not learn from, as far as it says, and how many there are in all."""
    every = read_manifest(folder).rows
    rows = unlearnt(judge, every)
    if not rows:
        raise BadInput(
            f"gates.real: the judge {judge.name} learnt from films of every patient of {folder}",
            hint="name films of other patients",
        )
    return rows, len(every)


def _source(judge: AnyJudge, folder: str) -> str:
    rows, every = _strangers(judge, folder)
    left_out = f", without {every - len(rows)} of patients that the judge learnt from" if len(rows) < every else ""
    return f"{len(rows)} films of {Path(folder).name}{left_out}"


def _check_sight(judge: AnyJudge, gates: Gates) -> None:
    """BadInput where ``judge`` has nothing to say at one of the gates."""
    seen, nearest = look(judge, np.zeros((8, 8), np.uint8))
    says = {
        "finding": bool(judge.findings),
        "sex": seen.female is not None,
        "age": seen.age is not None,
        "view": seen.ap is not None,
        "quality": bool(seen.quality),
        "copy": nearest is not None,
    }
    if mute := [name for name in gates.names if not says[name]]:
        raise BadInput(
            f"gates.names: the judge {judge.name} has nothing to say of {', '.join(mute)}"
            + (", for it has no reference index of training films" if "copy" in mute else ""),
            hint="leave that out, or take a judge of `gen train judge`",
        )


def _own_figures(judge: AnyJudge) -> dict[str, Any]:
    """What ``judge`` was worth on held-out films: AUROC by head, and its error of the age in years, with intervals."""
    if not isinstance(judge, Judge) or not judge.figures:
        return {}
    figures = judge.figures
    heads = {**figures.get("findings", {}), **{name: figures.get(name, {}) for name in ("female", "AP", "child")}}
    return {
        "films": figures.get("films"),
        "patients": figures.get("patients"),
        "auroc": {name: facts["auroc"] for name, facts in heads.items() if "auroc" in facts},
        "age_error_years": figures.get("groups", {}).get("all", {}).get("age_error_years"),
    }
