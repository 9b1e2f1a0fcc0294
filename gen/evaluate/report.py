"""The report: from results to one HTML page that needs nothing but itself, with the verdict first.

Pure functions of the results (as of `evaluation.evaluate`) and of the pictures that may be shown: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gen.anatomy.measure import table
from gen.evaluate.charts import distances, dots
from gen.evaluate.evaluation import Picture, Pictures
from gen.evaluate.page import bullets, html_table, image, page, plot, text, verdict_box, warning_box
from gen.evaluate.privacy import PIXELS
from gen.evaluate.verdict import count_text, figure_text, verdict

METRICS = {  # the key, how it is called, what is better, digits
    "fid": ("FID", "lower", 2),
    "kid": ("KID", "lower", 4),
    "precision": ("precision", "higher", 3),
    "recall": ("recall", "higher", 3),
    "density": ("density", "higher", 3),
    "coverage": ("coverage", "higher", 3),
}
_SERIES = ("synthetic", "real")
_NAMED = 50  # images that are listed by name: what was left out, what is too near


def to_html(results: Mapping[str, Any], pictures: Pictures) -> str:
    """The page. What a results entry lacks is said to be missing, with its reason."""
    sets = results["sets"]
    title = f"{sets['synthetic']['folder']}: {sets['synthetic']['images']} synthetic radiographs"
    parts = [
        verdict_box(verdict(results)),
        warning_box(results["warnings"]),
        _sets(results),
        _sheet("Side by side", pictures.sheet, _sheet_note(pictures.sheet)),
        _fidelity(results["fidelity"]),
        _anatomy(results),
        _alignment(results),
        _diversity(results["diversity"]),
        _privacy(results),
        _sheet("Closest pairs", pictures.gallery, "The synthetic image on the left, the training image on the right."),
        _colophon(results),
    ]
    return page(title, parts)


# The sections


def _sets(results: Mapping[str, Any]) -> str:
    rows = []
    for name, of_set in results["sets"].items():
        excluded = ", ".join(f"{count} {reason}" for reason, count in sorted(of_set["excluded"].items())) or "none"
        rows.append((name, of_set["folder"], of_set["images"], of_set["patients"], excluded))
    named = results["sets"]["synthetic"]["excluded_rows"][:_NAMED]
    return (
        "<h2>The sets</h2>"
        + html_table(("", "folder", "images scored", "patients", "left out"), rows)
        + (f'<p class="note">Of the synthetic ones:</p>{bullets(named)}' if named else "")
    )


def _fidelity(found: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        "<h2>Fidelity: do the images look like real ones?</h2>",
        '<p class="note">Each figure with its 95 % interval, beside the floor: one half of the real set against the '
        "other, by patient, at the same number of images. FID and the neighbour figures depend on N and on the "
        "extractor: compare them with the floor, never with another paper.</p>",
    ]
    for one in found:
        rows = [
            (
                f"{name} ({better} is better)",
                figure_text(one["synthetic"][key], digits),
                figure_text(one["floor"][key], digits),
            )
            for key, (name, better, digits) in METRICS.items()
        ]
        parts.append(f"<h3>{text(one['extractor'])}</h3>")
        parts.append(f'<p class="note">{text(one["note"])}. N = {one["n"]} a side.</p>')
        parts.append(html_table(("", "synthetic", "floor: real, other patients"), rows))
        groups = {
            f"{group} ({of['n_synthetic']} / {of['n_real']})": {"synthetic": of["kid"], "real": of["floor"]}
            for group, of in one["groups"].items()
        }
        charts = {"all": {"synthetic": one["synthetic"]["kid"], "real": one["floor"]["kid"]}, **groups}
        parts.append(plot(dots(charts, _SERIES, f"KID ({one['extractor']})", 0.0), f"KID by group, {one['extractor']}"))
        if groups:
            parts.append('<p class="note">In brackets: synthetic and real images of the group.</p>')
    return "\n".join(parts)


def _anatomy(results: Mapping[str, Any]) -> str:
    head = "<h2>Anatomy: are these whole chests, shaped as real ones?</h2>"
    found = results.get("anatomy")
    if found is None:
        return head + f"<p>Not measured: {text(results['missing'].get('anatomy', 'no reason is known'))}.</p>"
    ranges = {
        name: "not known" if None in limits else f"{limits[0]:.2f} to {limits[1]:.2f}"
        for name, limits in found["ranges"].items()
    }
    labels = {
        "accepted": "one upright frontal chest, clearly outlined",
        "two_lungs": "two lungs",
        "one_heart": "one heart",
        "ratio": "cardiothoracic ratio 0.3 to 0.7",
        **{name: f"{name.replace('_', ' ')} as in 95 % of real images ({ranges[name]})" for name in found["ranges"]},
        "whole": "all of these",
    }
    shares = [(label, *(figure_text(found[side][key], 1, True) for side in _SERIES)) for key, label in labels.items()]
    means = [
        (name.replace("_", " "), unit, *(figure_text(found["means"][name][side], 3) for side in _SERIES), definition)
        for name, unit, definition, _ in table()
    ]
    distance = [
        (
            f"Fréchet distance of shapes, N = {found['n']} a side",
            figure_text(found["distance"]),
            figure_text(found["floor"]),
        )
    ]
    refused = ", ".join(f"{count} × {reason}" for reason, count in found["refused"].items()) or "none"
    return "\n".join(
        [
            head,
            f'<p class="note">Measured on organ masks by the network {text(found["network"])}, which learnt from '
            "projections and looks at outlines, not at tone or texture. Frontal images only.</p>",
            html_table(("share of images", "synthetic", "real"), shares),
            html_table(("", "synthetic", "floor: real, other patients"), distance),
            f"<p>Synthetic images not accepted: {text(refused)}.</p>",
            f"<details><summary>Measurements, means</summary>"
            f"{html_table(('measurement', 'unit', 'synthetic', 'real', 'definition'), means)}</details>",
        ]
    )


def _alignment(results: Mapping[str, Any]) -> str:
    head = "<h2>Alignment: do the images show what the prompts say?</h2>"
    found = results.get("alignment")
    if found is None:
        return head + f"<p>Not measured: {text(results['missing'].get('alignment', 'no reason is known'))}.</p>"
    rows = []
    for name, of in found["findings"].items():
        counts = f"{of['present']} / {of['absent']}", f"{of['real_present']} / {of['real_absent']}"
        figures = [figure_text(of[key][side], 2) for key in ("auroc", "balanced_accuracy") for side in _SERIES]
        rows.append((name, *figures, *counts))
    columns = ("finding", "AUROC", "AUROC, real", "balanced accuracy", "balanced accuracy, real")
    whole = [
        (label, figure_text(found[key]["synthetic"], digits, percent), figure_text(found[key]["real"], digits, percent))
        for key, label, digits, percent in (
            ("mean_auroc", "mean AUROC of the findings known on both sides", 3, False),
            ("sex", "sex as prompted, balanced accuracy", 1, True),
            ("view", "view as prompted (AP or PA), balanced accuracy", 1, True),
            ("child", "child or adult as prompted, balanced accuracy", 1, True),
            ("age_error", "age, mean absolute error in years", 1, False),
            ("age_bias", "age, seen minus prompted in years", 1, False),
        )
    ]
    judge = results.get("judge", {})
    chart = {
        name: {side: of["auroc"][side] for side in _SERIES}
        for name, of in found["findings"].items()
        if any(of["auroc"][side]["value"] is not None for side in _SERIES)
    }
    unread = f" {len(found['unread'])} prompts could not be understood." if found["unread"] else ""
    return "\n".join(
        [
            head,
            f'<p class="note">Judge: {text(str(judge.get("name")))} ({text(str(judge.get("fingerprint")))}). '
            "The columns “real” are the same judge on the real set: the ceiling. A finding is absent where the prompt "
            f"says so or says “no finding”; what is not mentioned does not count, in images as in prompts.{unread}</p>",
            html_table(("", "synthetic", "real"), whole),
            plot(dots(chart, _SERIES, "AUROC", 0.5), "AUROC by finding") if chart else "",
            html_table((*columns, "present / absent", "present / absent, real"), rows),
        ]
    )


def _diversity(found: Mapping[str, Any]) -> str:
    rows = []
    for key, name in (
        ("ms_ssim", "MS-SSIM (lower is more diverse)"),
        ("distance", "distance (higher is more diverse)"),
    ):
        of = found[key]
        order = ("synthetic", "real", "synthetic_apart", "real_apart")
        rows.append((name, *(f"{figure_text(of[side], 3)}, {of[side]['n']} pairs" for side in order)))
    within = found["within"]
    columns = (
        "",
        f"synthetic, one {within}",
        "real, one label",
        f"synthetic, different {within}s",
        "real, different labels",
    )
    chart = {
        "same": {"synthetic": found["ms_ssim"]["synthetic"], "real": found["ms_ssim"]["real"]},
        "different": {"synthetic": found["ms_ssim"]["synthetic_apart"], "real": found["ms_ssim"]["real_apart"]},
    }
    return "\n".join(
        [
            "<h2>Diversity: does one prompt give many patients?</h2>",
            f'<p class="note">Pairs of images of one {text(within)}, beside pairs of different patients’ real images '
            f"that share {text(found['label'])}. Distances in the extractor {text(found['extractor'])}.</p>",
            html_table(columns, rows),
            plot(dots(chart, _SERIES, "MS-SSIM of pairs"), "MS-SSIM of pairs"),
        ]
    )


def _privacy(results: Mapping[str, Any]) -> str:
    head = "<h2>Privacy: does the set copy patients?</h2>"
    found = results.get("privacy")
    if found is None:
        return head + f"<p>Not measured: {text(results['missing'].get('privacy', 'no reason is known'))}.</p>"
    known = "training images" if "copied" in found else "images of the judge’s index"
    parts = [
        head,
        f'<p class="note">Each image’s nearest of {found["n_training"]} {known}. Too near is what at most '
        f"{100 * found['wished_rate']:g} % of unseen patients’ images would be, by {found['n_held_out']} held-out ones"
        + (f" of {found['held_out_patients']} patients" if "held_out_patients" in found else "")
        + ". That control is each image against the threshold of the other patients. Authentic: farther from its "
        "nearest training image than that is from other patients’. This is no guarantee, and says nothing of attacks "
        "with the weights.</p>",
    ]
    rows = []
    for name, of in found["channels"].items():
        own = [figure_text(of[key], 1, True) for key in ("synthetic", "held_out", "authentic", "authentic_held_out")]
        rows.append((name, f"{len(of['alarms'])} of {of['synthetic']['n']}", *own, f"{100 * of['rate']:.2f} %"))
    columns = ("looked at", "too near", "share", "held-out real", "authentic", "authentic, held-out", "by chance")
    parts.append(html_table(columns, rows))
    if "copied" in found:
        parts.append(
            f"<p>{count_text(found['copied'])} ({figure_text(found['copied'], 1, True)}) are as near as 95 % of "
            f"planted copies are; of the held-out images {figure_text(found['copied_held_out'], 1, True)}. "
            f"{found['identical']} are training images pixel for pixel.</p>"
        )
        rows = [
            (name, *(figure_text(figure, 0, True) for figure in of["planted"].values()))
            for name, of in found["channels"].items()
        ]
        kinds = next(iter(found["channels"].values()))["planted"]
        counts = {figure["n"] for figure in kinds.values()}
        parts.append(f"<h3>Planted copies that were found ({max(counts, default=0)} of each kind)</h3>")
        parts.append(html_table(("looked at", *kinds), rows))
    for name, of in found["channels"].items():
        series = {"synthetic": of["distances"], "real, held-out": of["control"]}
        chart = distances(series, f"distance to the nearest training image: {name}", of["threshold"])
        parts.append(plot(chart, f"nearest distances, {name}"))
    if "rare_words" in found:
        parts.append(_rare_words(found["rare_words"]))
    alarms = next(iter(found["channels"].values()))["alarms"]
    if alarms and PIXELS in found["channels"]:
        parts.append("<h3>Too near in pixels</h3>")
        rows = [(each["file_name"], f"{each['distance']:.4f}", each["training_image"]) for each in alarms[:_NAMED]]
        parts.append(html_table(("synthetic image", "distance", "training image (hashed)"), rows))
    return "\n".join(parts)


def _rare_words(found: Mapping[str, Any]) -> str:
    rows = [(words, captions, prompts) for words, captions, prompts in found["listed"]]
    return "\n".join(
        [
            "<h3>Rare words in the prompts</h3>",
            f"<p>{figure_text(found['words'], 1, True)} of the prompts hold a word, and "
            f"{figure_text(found['pairs'], 1, True)} a pair of words, that 1 to {found['most']} of {found['captions']} "
            "training captions hold. Of these "
            f"{found['flagged']} images {figure_text(found['alarms'], 1, True)} are too near, of the others "
            f"{figure_text(found['alarms_elsewhere'], 1, True)}.</p>",
            html_table(("word or pair", "training captions", "prompts"), rows) if rows else "",
        ]
    )


def _colophon(results: Mapping[str, Any]) -> str:
    made = results.get("made", {})
    parts = ["<h2>How this was made</h2>", bullets([f"{key}: {value}" for key, value in made.items()])]
    own = _own_figures(results.get("judge", {}))
    if own:
        summary = "<summary>The judge’s own figures on held-out images</summary>"
        parts.append(f"<details>{summary}{html_table(('', 'figure'), own)}</details>")
    parts.append('<p class="note">For research only, not for clinical use. The same numbers are in report.json.</p>')
    return "\n".join(parts)


def _own_figures(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers of the judge's card as rows, nested names joined; lists are a value and its interval."""
    rows: list[tuple[str, str]] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{name}, {key}" if name else str(key), item)
        elif isinstance(value, list) and all(item is None or isinstance(item, int | float) for item in value):
            rows.append((name, " ".join("n/a" if item is None else f"{item:.3g}" for item in value)))
        elif isinstance(value, int | float | str):
            rows.append((name, f"{value:.3g}" if isinstance(value, float) else str(value)))

    walk("", judge.get("figures", {}))
    return rows


# Markup


def _sheet_note(sheet: Sequence[Picture]) -> str:
    if any(picture.real is not None for picture in sheet):
        return "A synthetic image on the left, and a real image of the same label on the right where there is one."
    return "Synthetic images of different prompts; real ones are not shown."


def _sheet(title: str, pictures: Sequence[Picture], note: str) -> str:
    if not pictures:
        return ""
    figures = []
    for picture in pictures:
        images = image(picture.synthetic, "synthetic")
        if picture.real is not None:
            images += " " + image(picture.real, "real")
        figures.append(f"<figure>{images}<figcaption>{text(picture.words)}</figcaption></figure>")
    return f'<h2>{title}</h2><p class="note">{note}</p><div class="sheet">{"".join(figures)}</div>'
