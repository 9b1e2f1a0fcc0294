"""The report of a comparison: one HTML page and the same numbers as JSON, the verdict first.

Pure functions of the results, whose figures are dictionaries as of `gen.evaluate.evaluation.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from augment.classify.arms import CompareConfig, control_arms
from augment.classify.compare import Compared
from augment.classify.data import OWN_TEST
from augment.classify.figures import figures
from augment.classify.verdict import SIGNIFICANT, counted, of_pair, p_text, says, signed, verdict
from gen.core.markdown import read_prose
from gen.evaluate.charts import curves, dots
from gen.evaluate.evaluation import plain
from gen.evaluate.page import bullets, html_table, page, plot, text, verdict_box, warning_box
from gen.evaluate.verdict import figure_text

_PROSE = read_prose(__package__, "report.html")
_RAREST = 3  # findings


def results_of(compared: Compared, made: Mapping[str, str]) -> dict[str, Any]:
    """All numbers of the report, plain; ``made`` says when and by what."""
    config = compared.config
    found: dict[str, Any] = plain(figures(compared))
    arms = {
        name: {
            "learn_from": list(arm.learn_from),
            "pretrain_on": list(arm.pretrain_on),
            "shuffle_labels": arm.shuffle_labels,
            "balance": arm.balance or config.balance,
        }
        for name, arm in config.arms.items()
    }
    results = {
        "question": config.question,
        "baseline": config.baseline,
        "controls": dict(control_arms(config)),
        "asked": _asked(config, found["sets"]),
        "arms": arms,
        "small": config.small,
        "draws": config.draws,
        **found,
        "made": dict(made),
    }
    return {"verdict": verdict(results), **results}


def _asked(config: CompareConfig, sets: Mapping[str, Any]) -> str:
    """What the arm in question does, as the subject of a sentence."""
    arm = config.arms[config.question]

    def of(names: Sequence[str]) -> str:
        return f"{sum(sets[name]['images'] for name in names):,} synthetic images"

    if before := [name for name in arm.pretrain_on if name in config.sets]:
        return f"Pretraining on {of(before)}"
    if beside := [name for name in arm.learn_from if name in config.sets]:
        return f"Learning from {of(beside)}{' and real ones' if len(beside) < len(arm.learn_from) else ' alone'}"
    return f"The arm {config.question}"


def to_html(results: Mapping[str, Any]) -> str:
    """The page."""
    title = f"Does it help? {results['question']} against {results['baseline']}"
    parts = [verdict_box(results["verdict"]), warning_box(_warnings(results)), _arms(results)]
    for name, of_test in results["tests"].items():
        parts += [
            f"<h2>Test set {text(name)}: {of_test['images']} images of {of_test['patients']} patients</h2>",
            _scores(of_test, results),
            _curve(of_test, results),
            _by_finding(of_test, results),
            _rarest(of_test),
            _by_device(of_test),
            _beside(of_test, results),
            _fairness(of_test, results),
        ]
    return page(title, [*parts, _probes(results), _sets(results), _colophon(results)])


def _warnings(results: Mapping[str, Any]) -> list[str]:
    lines = list(results["notes"])
    if not results["controls"]:
        lines.append("There is no control arm: an effect of more training, or of any images, cannot be told apart.")
    tried = sum(one["p_holm"] is not None for one in results["tests"][OWN_TEST]["differences"])
    if tried * 2 / (results["draws"] + 1) >= SIGNIFICANT:
        lines.append(
            f"With {results['draws']} draws no p of {tried} comparisons can fall below {SIGNIFICANT} after Holm: take "
            f"draws={40 * tried + 1} or more."
        )
    if len(results["starts"]) < 3:
        starts = counted(len(results["starts"]), "start")
        lines.append(f"{starts}: little is known of what chance in training does; take 3 or more.")
    return lines


def _arms(results: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            ", ".join(of["pretrain_on"]) or "–",
            ", ".join(of["learn_from"]),
            of["balance"],
            results["controls"].get(name, ""),
        )
        for name, of in results["arms"].items()
    ]
    starts = ", ".join(f"{seed}: {start}" for seed, start in results["starts"].items())
    return "\n".join(
        [
            "<h2>The arms</h2>",
            html_table(("arm", "pretrained on", "learns from", "balance", "control"), rows),
            _note("arms", starts=text(starts), images=f"{results['images']:,}"),
        ]
    )


def _scores(of_test: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    rows = []
    for arm, amounts in of_test["auroc"].items():
        for amount, figure in amounts.items():
            against = results["amounts"][0] if amount == "none" else amount
            cells = ("", "", "")
            if arm != results["baseline"]:
                found = of_pair(of_test["differences"], arm, results["baseline"], against)
                cells = (signed(found["difference"]), p_text(found["p_holm"]), says(found))
            rows.append((arm, amount, figure_text(figure), *cells))
    header = ("arm", "real patients", "macro AUROC", f"minus {results['baseline']}", "p, Holm", "")
    return html_table(header, rows) + _note("scores")


def _curve(of_test: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    shares = [amount for amount in results["amounts"] if amount.endswith("%")]
    if len(shares) < 2:
        return ""
    series: dict[str, list[tuple[float, Any]]] = {}
    for arm, amounts in of_test["auroc"].items():
        series[arm] = [
            (float(amount.removesuffix(" %")), figure)
            for amount in shares
            if (figure := amounts.get(amount, amounts.get("none"))) is not None
        ]
    drawn = curves(series, ("share of the real training patients in %", "macro AUROC"), logarithmic=True)
    return "<h3>With less real data</h3>" + plot(drawn, "macro AUROC by share of real patients")


def _by_finding(of_test: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    arm, base = results["question"], results["baseline"]
    own = of_test["by_finding"][arm]
    forest = {finding: {arm: of["difference"]} for finding, of in own.items() if of["difference"]["value"] is not None}
    if not forest:
        return ""
    prevalence, beside = of_test["prevalence"], of_test["beside"]
    rows = [
        (
            finding,
            f"{prevalence[finding]['present']} of {prevalence[finding]['known']}",
            figure_text(of_test["by_finding"][base][finding]["auroc"], 2),
            figure_text(of["auroc"], 2),
            signed(of["difference"], 2),
            p_text(of["p_holm"]),
            figure_text(beside[base]["auprc_by_finding"][finding], 2),
            figure_text(beside[arm]["auprc_by_finding"][finding], 2),
        )
        for finding, of in own.items()
    ]
    columns = [f"{score}, {name}" for score in ("AUROC", "AUPRC") for name in (base, arm)]
    header = ("finding", "present", *columns[:2], "difference", "p, Holm", *columns[2:])
    drawn = plot(dots(forest, [arm], f"AUROC minus that of {base}", 0.0), "difference of AUROC by finding")
    return f"<h3>By finding, {text(arm)}</h3>{drawn}{html_table(header, rows)}{_note('findings')}"


def _rarest(of_test: Mapping[str, Any]) -> str:
    """Every arm on the findings that the fewest images have."""
    present = {name: of["present"] for name, of in of_test["prevalence"].items() if of["present"]}
    names = sorted(present, key=lambda name: (present[name], name))[:_RAREST]
    rows = [
        (
            arm,
            *(
                cell
                for name in names
                for cell in (
                    figure_text(own[name]["auroc"], 2),
                    figure_text(of_test["beside"][arm]["auprc_by_finding"][name], 2),
                )
            ),
        )
        for arm, own in of_test["by_finding"].items()
    ]
    columns = [f"{score}, {name} ({present[name]})" for name in names for score in ("AUROC", "AUPRC")]
    return f"<h3>The rarest findings</h3>{html_table(('arm', *columns), rows)}"


def _by_device(of_test: Mapping[str, Any]) -> str:
    if not of_test["devices"]:
        return ""
    arms = of_test["devices"]["arms"]
    names = list(next(iter(arms.values())))
    rows = [(arm, *(f"{figure_text(of[name], 2)}, N {of[name]['n']}" for name in names)) for arm, of in arms.items()]
    note = _note("devices", findings=text(", ".join(of_test["devices"]["findings"])))
    return f"<h3>With devices and without</h3>{note}{html_table(('arm', *names), rows)}"


def _beside(of_test: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    rows = [
        (
            arm,
            figure_text(of["auprc"]),
            figure_text(of["brier"]),
            "n/a" if of["calibration_error"] is None else f"{of['calibration_error']:.3f}",
        )
        for arm, of in of_test["beside"].items()
    ]
    shown = [results["baseline"], results["question"]]
    series = {
        arm: [(p, {"value": share, "low": None, "high": None}) for p, share in of_test["beside"][arm]["reliability"]]
        for arm in shown
    }
    drawn = curves(series, ("mean probability", "share with the finding"), diagonal=True)
    return "\n".join(
        [
            "<h3>Calibration</h3>",
            html_table(("arm", "macro AUPRC", "Brier score", "calibration error"), rows),
            plot(drawn, "reliability of probabilities"),
        ]
    )


def _fairness(of_test: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    arm, base = results["question"], results["baseline"]
    parts = ["<h3>Fairness</h3>", _note("fairness", small=results["small"])]
    for kind, arms in of_test["fairness"].items():
        parts.append(f"<h3>{text(kind.capitalize())}</h3>")
        rows = {
            name: [
                (
                    name,
                    attribute,
                    figure_text(of["gap"], 2),
                    of["worst"],
                    figure_text(of["worst_rate"], 2),
                    "" if name == base else signed(of["change"], 2),
                )
                for attribute, of in found["gaps"].items()
            ]
            for name, found in arms.items()
        }
        header = ("arm", "by", "gap", "worst group", "its rate", f"gap minus that of {base}")
        shown = [*rows[base], *rows[arm]]
        parts.append(html_table(header, shown) if shown else "<p>No two groups are large enough.</p>")
        if others := [row for name in rows if name not in (base, arm) for row in rows[name]]:
            parts.append(_folded("The gaps of the other arms", html_table(header, others)))
        own, before = arms[arm]["groups"], arms[base]["groups"]
        groups = [key for key, of in own.items() if "|" not in key and of["patients"]]
        chart = {
            f"{key} ({own[key]['patients']})": {base: before[key]["rate"], arm: own[key]["rate"]} for key in groups
        }
        parts.append(plot(dots(chart, (base, arm), kind), f"{kind} by group"))
        parts.append(_all_groups(arms, (base, arm)))
    return "\n".join(parts)


def _all_groups(arms: Mapping[str, Any], shown: Sequence[str]) -> str:
    rows = [
        (
            f"{key}{' (small)' if of['small'] else ''}",
            of["patients"],
            *(figure_text(arms[name]["groups"][key]["rate"], 2) for name in shown),
        )
        for key, of in arms[shown[1]]["groups"].items()
    ]
    table = html_table(("group", "patients", *shown), rows)
    return _folded(f"All {len(rows)} groups, intersections too", table)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def _probes(results: Mapping[str, Any]) -> str:
    if not results["probes"]:
        return ""
    names = list(next(iter(results["probes"].values())))
    rows = [(arm, *(figure_text(of[name], 2) for name in names)) for arm, of in results["probes"].items()]
    header = ("arm", "whole images", *names[1:])
    return f"<h2>Does it look where the finding is?</h2>{_note('probes')}{html_table(header, rows)}"


def _sets(results: Mapping[str, Any]) -> str:
    rows = [
        (name, of["images"], of["patients"], ", ".join(of["sources"]), ", ".join(of["licences"]))
        for name, of in results["sets"].items()
    ]
    return "<h2>The sets</h2>" + html_table(("", "images", "patients", "sources", "licences"), rows)


def _colophon(results: Mapping[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in results["made"].items()]
    return f"<h2>How this was made</h2>{bullets(lines)}{_note('colophon')}"


def _note(block: str, **values: object) -> str:
    return f'<p class="note">{_PROSE.fill(block, **values)}</p>'
