"""The figures of a comparison: what each arm scores, how far it is from the baseline, and whether that is chance.

Patients are drawn anew, and seeds with them, the same for all arms: a difference is that of the same patients and of
the same starts. AUPRC favours what is frequent (McDermott et al. 2024, arXiv:2401.06091), so it stands beside the
prevalence and is never the only figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.classify.arms import Cell, control_arms
from augment.classify.data import OWN_TEST, labels_of_rows
from augment.classify.fairness import arm_rates, errors_of, group_draws
from augment.classify.probes import PROBES, SOURCE, have_devices, source_labels
from gen.core.run import derived_seed
from gen.data.rows import study_of
from gen.data.split import patient_of
from gen.statistics.groups import attributes_of
from gen.statistics.intervals import drawn, figure_of, times_drawn
from gen.statistics.paired import holm, p_value
from gen.statistics.scores import auroc_of_draws, brier, calibration_error

if TYPE_CHECKING:
    from augment.classify.compare import Compared
    from gen.core.manifest import Row

AUPRC_DRAWS = 200  # at most: scikit-learn's takes its time
BINS = 10  # of equal count, of a reliability curve


@dataclass(frozen=True)
class Averaged:
    """Replicates (1 + draws, C, ...) of C cells, averaged over the seeds of an arm at an amount."""

    replicates: np.ndarray
    cells: Sequence[Cell]
    weights: np.ndarray  # (1 + draws, S): of the seeds in each draw, as of `seed_weights`

    def of(self, arm: str, amount: str) -> np.ndarray:
        """(1 + draws, ...) of ``arm`` at ``amount``, or at none where it has no real images."""
        fitting = [i for i, cell in enumerate(self.cells) if cell.arm == arm and cell.amount in (amount, "none")]
        mean: np.ndarray = np.einsum("ds,ds...->d...", self.weights, self.replicates[:, fitting])
        return mean


def seed_weights(count: int, draws: int) -> np.ndarray:
    """Weights (1 + draws, count), of sum 1: every seed equally, then ``count`` - 1 seeds drawn anew.

    One fewer than there are, since the mean of so many varies as that of the seeds themselves does (Rao and Wu 1988);
    ``count`` of them would vary too little, by a third where there are three.
    """
    rng = np.random.default_rng(derived_seed(0, "seeds"))
    equal, drawn_each = np.full(count, 1 / count), max(1, count - 1)
    return np.concatenate([equal[None], rng.multinomial(drawn_each, equal, draws) / drawn_each])


def figures(compared: Compared) -> dict[str, Any]:
    """All figures by test set, as `Figure` and plain values, and what they were made from."""
    cells = [outcome.cell for outcome in compared.outcomes]
    amounts = list(dict.fromkeys(cell.amount for cell in cells if cell.amount != "none")) or ["none"]
    return {
        "findings": list(compared.findings),
        "amounts": amounts,
        "starts": {str(outcome.cell.seed): outcome.facts["start"] for outcome in compared.outcomes},
        "images": compared.outcomes[0].facts["images"],
        "sets": _sets(compared),
        "notes": list(compared.sources.notes),
        "probes": _probes(compared, amounts[0]) if compared.config.probes else {},
        "tests": {name: _of_test(compared, name, amounts) for name in compared.tests},
    }


def _sets(compared: Compared) -> dict[str, Any]:
    """Images, patients, sources and licences of each set."""
    folders = {folder: name for name, folder in (compared.config.sets | compared.config.real_sets).items()}
    real = compared.sources.real
    listed = {
        **{f"real, {split}": real[split] for split in ("train", "validation")},
        **{folders[folder]: rows for folder, rows in compared.sources.synthetic.items()},
        **{folders[folder]: rows for folder, rows in compared.sources.derived.items()},
        **{f"test set {name}": rows for name, rows in compared.tests.items()},
    }
    return {
        name: {
            "images": len(rows),
            "patients": len({patient_of(row) for row in rows}),
            "sources": sorted({row.source or "unknown" for row in rows}),
            "licences": sorted({row.licence or "unknown" for row in rows}),
        }
        for name, rows in listed.items()
    }


def _of_test(compared: Compared, name: str, amounts: Sequence[str]) -> dict[str, Any]:
    config, findings = compared.config, compared.findings
    rows, outcomes = compared.tests[name], compared.outcomes
    labels = labels_of_rows(rows, findings, config.complete)
    units = [patient_of(row) for row in rows]
    predictions = np.stack([outcome.predictions[name] for outcome in outcomes])
    cells = [outcome.cell for outcome in outcomes]
    weights = seed_weights(len(config.seeds), config.draws)
    scores = Averaged(aurocs(predictions, labels, times_drawn(units, config.draws)), cells, weights)
    amount = amounts[0]
    arms = list(config.arms)
    return {
        "images": len(rows),
        "patients": len(set(units)),
        "prevalence": {
            finding: {"present": int((column == 1).sum()), "known": int((~np.isnan(column)).sum())}
            for finding, column in zip(findings, labels.T, strict=True)
        },
        "auroc": {
            arm: {each: figure_of(macro(scores.of(arm, each)), len(rows)) for each in _amounts_of(cells, arm)}
            for arm in arms
        },
        "differences": _differences(scores, compared, amounts, len(rows)),
        "by_finding": {arm: _by_finding(scores, compared, arm, amount, len(rows)) for arm in arms},
        "beside": _beside(compared, predictions, labels, units, amount),
        "fairness": _fairness(compared, predictions, labels, rows, amount),
        "devices": _by_device(compared, predictions, labels, rows, amount),
    }


def _by_device(
    compared: Compared, predictions: np.ndarray, labels: np.ndarray, rows: Sequence[Row], amount: str
) -> dict[str, Any]:
    """Mean AUROC of each arm among the images whose labels name a device and among the others, over the findings that
    both have with and without them; empty without such a finding."""
    config, cells = compared.config, [outcome.cell for outcome in compared.outcomes]
    device = have_devices(rows)
    both = [
        j
        for j, column in enumerate(labels.T)
        if all({0.0, 1.0} <= set(column[part]) for part in (device, ~device))
        and compared.findings[j] != "Support Devices"
    ]
    if not both:
        return {}
    times = times_drawn([patient_of(row) for row in rows], config.draws)
    weights = seed_weights(len(config.seeds), config.draws)
    arms: dict[str, Any] = {arm: {} for arm in config.arms}
    for name, part in (("with a device", device), ("without", ~device)):
        truth = np.where(part[:, None], labels, np.nan)[:, both]
        scores = Averaged(aurocs(predictions[:, :, both], truth, times), cells, weights)
        for arm in config.arms:
            arms[arm][name] = figure_of(macro(scores.of(arm, amount)), int(part.sum()))
    return {"findings": [compared.findings[j] for j in both], "arms": arms}


def _probes(compared: Compared, amount: str) -> dict[str, Any]:
    """Mean AUROC of each arm at ``amount`` on its own test set, whole and as the probes have it; and of the sources,
    where there are two."""
    config, rows = compared.config, compared.tests[OWN_TEST]
    labels, told = labels_of_rows(rows, compared.findings, config.complete), source_labels(rows)
    outcomes = [outcome for outcome in compared.outcomes if outcome.cell.amount in (amount, "none")]
    cells, times = [outcome.cell for outcome in outcomes], times_drawn([patient_of(row) for row in rows], config.draws)
    weights = seed_weights(len(config.seeds), config.draws)
    made: dict[str, Any] = {arm: {} for arm in config.arms}
    for name in (OWN_TEST, *PROBES, *([SOURCE] if told.shape[1] else [])):
        found = np.stack([outcome.predictions[name] for outcome in outcomes])
        scores = Averaged(aurocs(found, told if name == SOURCE else labels, times), cells, weights)
        for arm in config.arms:
            made[arm][name] = figure_of(macro(scores.of(arm, amount)), len(rows))
    return made


def aurocs(predictions: np.ndarray, labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(D, C, F) of predictions (C, N, F) and labels (N, F), in D samples with each item ``times`` (D, N)."""
    found = np.empty((len(times), len(predictions), labels.shape[1]))
    for c, each in enumerate(predictions):
        for j, column in enumerate(labels.T):
            found[:, c, j] = auroc_of_draws(each[:, j], column, times)
    return found


def macro(replicates: np.ndarray) -> np.ndarray:
    """The mean over findings, (1 + draws,), of (1 + draws, F): over those that have a value in the sample itself."""
    known = replicates[:, ~np.isnan(replicates[0])]
    return known.mean(1) if known.shape[1] else np.full(len(replicates), np.nan)


def _amounts_of(cells: Sequence[Cell], arm: str) -> list[str]:
    return list(dict.fromkeys(cell.amount for cell in cells if cell.arm == arm))


def _differences(scores: Averaged, compared: Compared, amounts: Sequence[str], n: int) -> list[dict[str, Any]]:
    """Each arm less the baseline at each amount, and the question's less the controls; Holm over all of the former."""
    config = compared.config
    listed: list[tuple[str, str, str]] = []
    for arm in config.arms:
        own = _amounts_of(scores.cells, arm)
        listed += [(arm, config.baseline, each) for each in (own if own != ["none"] else amounts[:1])]
    pairs = [pair for pair in listed if pair[0] != pair[1]]
    controls = [(config.question, name, amounts[0]) for name in control_arms(config) if name != config.question]
    made: list[dict[str, Any]] = []
    for arm, against, amount in (*pairs, *controls):
        replicates = macro(scores.of(arm, amount) - scores.of(against, amount))
        difference, p = figure_of(replicates, n), p_value(replicates)
        made.append({"arm": arm, "against": against, "amount": amount, "difference": difference, "p": p})
    adjusted: list[float | None] = [*holm([one["p"] for one in made[: len(pairs)]]), *([None] * len(controls))]
    for one, p_holm in zip(made, adjusted, strict=True):
        one["p_holm"] = p_holm
    return made


def _fairness(
    compared: Compared, predictions: np.ndarray, labels: np.ndarray, rows: Sequence[Row], amount: str
) -> dict[str, Any]:
    """Who is missed at ``amount``, at the thresholds of each training."""
    config = compared.config
    chosen = [i for i, outcome in enumerate(compared.outcomes) if outcome.cell.amount in (amount, "none")]
    cells = [compared.outcomes[i].cell for i in chosen]
    calls = predictions[chosen] >= np.stack([compared.outcomes[i].thresholds for i in chosen])[:, None]
    attributes, units = [attributes_of(study_of(row)) for row in rows], [patient_of(row) for row in rows]
    found: dict[str, Any] = {}
    for kind, errors in errors_of(calls, labels, compared.findings).items():
        rates = group_draws(errors, attributes, units, config.draws)
        averaged = Averaged(rates.replicates, cells, seed_weights(len(config.seeds), config.draws))
        base = averaged.of(config.baseline, amount)
        found[kind] = {}
        for arm in config.arms:
            own = [i for i, cell in enumerate(cells) if cell.arm == arm]
            found[kind][arm] = arm_rates(averaged.of(arm, amount), base, rates, own, config.small)
    return found


def _by_finding(scores: Averaged, compared: Compared, arm: str, amount: str, n: int) -> dict[str, Any]:
    """AUROC of each finding, and its difference from the baseline with Holm over the findings."""
    own, base = scores.of(arm, amount), scores.of(compared.config.baseline, amount)
    p = holm([p_value(own[:, j] - base[:, j]) for j in range(own.shape[1])])
    return {
        finding: {
            "auroc": figure_of(own[:, j], n),
            "difference": figure_of(own[:, j] - base[:, j], n),
            "p_holm": p[j],
        }
        for j, finding in enumerate(compared.findings)
    }


def _beside(
    compared: Compared, predictions: np.ndarray, labels: np.ndarray, units: Sequence[str], amount: str
) -> dict[str, Any]:
    """At ``amount``: AUPRC, Brier score, calibration error and reliability of each arm."""
    config = compared.config
    chosen = [i for i, outcome in enumerate(compared.outcomes) if outcome.cell.amount in (amount, "none")]
    cells = [compared.outcomes[i].cell for i in chosen]
    some = predictions[chosen]
    draws = min(config.draws, AUPRC_DRAWS)
    weights = seed_weights(len(config.seeds), draws)
    auprc = Averaged(drawn(units, lambda i: auprcs(some[:, i], labels[i]), draws), cells, weights)
    briers = Averaged(
        drawn(units, lambda i: np.array([brier(each[i], labels[i]) for each in some]), draws), cells, weights
    )
    made = {}
    for arm in config.arms:
        own = np.concatenate([each for each, cell in zip(some, cells, strict=True) if cell.arm == arm])
        known = np.concatenate([labels] * len(config.seeds))
        made[arm] = {
            "auprc": figure_of(macro(auprc.of(arm, amount)), len(labels)),
            "auprc_by_finding": {
                finding: figure_of(auprc.of(arm, amount)[:, j], len(labels))
                for j, finding in enumerate(compared.findings)
            },
            "brier": figure_of(briers.of(arm, amount), len(labels)),
            "calibration_error": calibration_error(own.ravel(), known.ravel()),
            "reliability": reliability(own.ravel(), known.ravel()),
        }
    return made


def auprcs(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision, (C, F), of predictions (C, N, F) and labels (N, F); NaN without a positive and a negative."""
    from sklearn.metrics import average_precision_score

    found = np.full((len(predictions), labels.shape[1]), np.nan)
    for j, column in enumerate(labels.T):
        known = ~np.isnan(column)
        if len(set(column[known])) == 2:
            for c, each in enumerate(predictions):
                found[c, j] = average_precision_score(column[known], each[known, j])
    return found


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[float, float]]:
    """Mean probability and share of positives in BINS bins of equal count."""
    known = ~np.isnan(labels)
    order = np.argsort(probabilities[known], kind="stable")
    parts = zip(
        np.array_split(probabilities[known][order], BINS), np.array_split(labels[known][order], BINS), strict=True
    )
    return [(float(p.mean()), float(y.mean())) for p, y in parts if len(p)]
