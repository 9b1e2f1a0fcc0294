"""The verdict in plain words, from the results alone: what the first lines of a report say, and how figures read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Numbers = Mapping[str, Any]  # of a Figure: value, low, high (None where unknown) and n


def verdict(results: Mapping[str, Any]) -> list[str]:
    """One line that says it all, and then a sentence or two for each question, with the figures behind it.

    Of two figures one is called higher where the 95 % interval of their difference says so, and alarms are called too
    many by `beyond_chance`; what is not seen to differ may still do so in a larger set, and is said to be not seen.
    """
    missing = results["missing"]
    answers = [
        _about_privacy(results.get("privacy"), missing.get("privacy")),
        _about_fidelity(results["fidelity"]),
        _about_anatomy(results.get("anatomy"), missing.get("anatomy")),
        _about_alignment(results.get("alignment"), missing.get("alignment")),
        _about_diversity(results["diversity"]),
    ]
    return ["; ".join(short for short, _ in answers).capitalize() + ".", *(sentence for _, sentence in answers)]


def figure_text(figure: Numbers, digits: int = 3, percent: bool = False) -> str:
    """Format a figure as "0.812 [0.774, 0.846]", "12.0 % [8.1, 17.3]", or "n/a"."""
    if figure["value"] is None:
        return "n/a"
    scale = 100 if percent else 1
    value, low, high = (
        # Rounded first, and 0 added: no figure is "-0.0".
        "?" if figure[key] is None else f"{round(scale * figure[key], digits) + 0.0:.{digits}f}"
        for key in ("value", "low", "high")
    )
    return f"{value}{' %' if percent else ''} [{low}, {high}]"


def count_text(figure: Numbers) -> str:
    """A share as "3 of 256 images"."""
    return f"{round(figure['value'] * figure['n'])} of {figure['n']} images"


def above(first: Numbers, second: Numbers) -> bool:
    """Whether ``first`` is higher than ``second`` beyond chance, the two being independent: errors add as squares."""
    numbers = (first["value"], first["low"], second["value"], second["high"])
    if None in numbers:
        return False
    return bool(numbers[0] - numbers[2] > math.hypot(numbers[0] - numbers[1], numbers[3] - numbers[2]))


def beyond_chance(channel: Mapping[str, Any], patients: int) -> bool:
    """Whether so many alarms as in ``channel`` come in at most 2.5 % of sets of unseen patients' images.

    The threshold is itself drawn: behind the k-th smallest of n distances the rate of alarms is Beta(k, n + 1 - k), so
    their number is beta-binomial. n counts ``patients``, since images of one patient are near each other.
    """
    from scipy.stats import betabinom

    k = channel["rate"] * (patients + 1)
    return bool(betabinom.sf(len(channel["alarms"]) - 1, channel["synthetic"]["n"], k, patients + 1 - k) < 0.025)


def _about_privacy(found: Mapping[str, Any] | None, why: str | None) -> tuple[str, str]:
    if found is None:
        return "copies were not looked for", f"Copies were not looked for: {why or 'no reason is known'}."
    channel = next(iter(found["channels"].values()))
    copied, identical = found.get("copied"), found.get("identical", 0)
    patients = found.get("held_out_patients", found["n_held_out"])
    # Without training images only a judge's index was searched, and that may be another generator's.
    what, among = ("a training image", "") if copied else ("an image of the judge’s index", ", in the judge’s index")
    counted = (
        f"{len(channel['alarms'])} of {channel['synthetic']['n']} images are nearer to {what} "
        f"({channel['name']}) than the threshold, and {100 * channel['rate']:.1f} % would be so by chance"
    )
    near = f"{count_text(copied)} are as near to a training image as planted copies are" if copied else ""
    if identical:
        short, sentence = "it holds copies of patients", f"{identical} images are training images, pixel for pixel"
    elif copied and above(copied, found["copied_held_out"]):
        short, sentence = "it holds copies of patients", near
    elif copied and copied["value"]:
        short, sentence = "some images may be copies of patients", f"{near}: look at them"
    elif beyond_chance(channel, patients):
        short, sentence = f"it comes too near to patients{among}", ""
    else:
        short, sentence = f"no sign of copies beyond chance{among}", ""
    others = [
        f"{name}: {len(of['alarms'])}" + (" (more than chance allows)" if beyond_chance(of, patients) else "")
        for name, of in list(found["channels"].items())[1:]
    ]
    also = f"; by embedding, {', '.join(others)}" if others else ""
    return short, f"Privacy: {f'{sentence}; ' if sentence else ''}{counted}{also}."


def _about_fidelity(found: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    # The two share real images and so are not independent; of equal sets that calls 1 in 200 different, not 1 in 40.
    far = [above(one["synthetic"]["kid"], one["floor"]["kid"]) for one in found]
    says = "it can be told from real images" if any(far) else "it is not seen to differ from real images"
    some = f" by {sum(far)} of {len(far)} extractors" if any(far) and not all(far) else ""
    parts = [
        f"{one['extractor']} {_short(one['synthetic']['kid'])} against {_short(one['floor']['kid'])}" for one in found
    ]
    return says + some, f"Fidelity: KID, beside that of other patients’ real images: {'; '.join(parts)}."


def _about_anatomy(found: Mapping[str, Any] | None, why: str | None) -> tuple[str, str]:
    if found is None:
        return "its anatomy is not known", f"Anatomy was not measured: {why or 'no reason is known'}."
    ours, real = found["synthetic"]["whole"], found["real"]["whole"]
    distance, floor = found["distance"], found["floor"]
    if above(real, ours):
        short = "fewer of its images are whole chests than of real ones"
    elif above(distance, floor):
        short = "its chests are shaped unlike real ones"
    else:
        short = "its anatomy is not seen to differ from that of real images"
    figures = f"{figure_text(ours, 1, True)} against {figure_text(real, 1, True)} of real images"
    apart = f"Fréchet distance of their shapes {_short(distance)} against {_short(floor)}"
    return short, f"Anatomy: whole chests by measurement {figures}; {apart}."


def _about_alignment(found: Mapping[str, Any] | None, why: str | None) -> tuple[str, str]:
    if found is None:
        reason = why or "no reason is known"
        return "whether it follows its prompts is not known", f"Alignment was not measured: {reason}."
    ours, real = found["mean_auroc"]["synthetic"], found["mean_auroc"]["real"]
    if ours["value"] is None or real["value"] is None:
        sentence = (
            "Alignment: no finding that the judge knows is said to be there, and to be absent, of enough images on "
            "both sides."
        )
        return "whether it follows its prompts is not known", sentence
    if ours["low"] is None or ours["low"] <= 0.5:
        short = "it is not seen to follow its prompts"
    else:
        short = "it follows its prompts" + (", less clearly than real images do" if above(real, ours) else "")
    figures = f"{figure_text(ours, 2)}; the same judge on real images has {figure_text(real, 2)}"
    return short, f"Alignment: mean AUROC of what the prompts say {figures}."


def _about_diversity(found: Mapping[str, Any]) -> tuple[str, str]:
    ours, real = found["ms_ssim"]["synthetic"], found["ms_ssim"]["real"]
    if ours["value"] is None or real["value"] is None:
        return "its diversity is not known", "Diversity: too few pairs share a prompt, or a label."
    short = f"images of one {found['within']} are {'' if above(ours, real) else 'not seen to be '}too alike"
    figures = f"{figure_text(ours, 2)} against {figure_text(real, 2)} in real images of one label"
    return short, f"Diversity: MS-SSIM within one {found['within']} {figures}."


def _short(figure: Numbers) -> str:
    if figure["value"] is None:
        return "n/a"
    value, low, high = ("?" if figure[key] is None else f"{figure[key]:.3g}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
