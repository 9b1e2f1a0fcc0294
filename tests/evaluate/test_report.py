"""The report: one file that needs nothing but itself, shows the numbers it was given, and says what they say."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from gen.anatomy.measure import NAMES
from gen.evaluate import charts
from gen.evaluate.anatomy import RANGED, Measured, compare_anatomy
from gen.evaluate.evaluation import Picture, Pictures, hashed_id, plain
from gen.evaluate.report import METRICS, to_html
from gen.evaluate.verdict import above, beyond_chance, figure_text, verdict
from gen.judge.reference import copy_threshold
from gen.statistics.intervals import Figure, proportion

VOID = {"meta", "img"}


def figure(value: float, half: float = 0.01, n: int = 100) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def spread(value: float) -> dict[str, Any]:
    return {side: figure(value) for side in ("synthetic", "real", "synthetic_apart", "real_apart")}


def channel(alarms: int) -> dict[str, Any]:
    return {
        "name": "pixels after alignment",
        "threshold": 0.21,
        "rate": 0.0099,
        "synthetic": plain(proportion(alarms, 200)),
        "held_out": plain(proportion(1, 100)),
        "distances": np.linspace(0.2, 0.6, 200).tolist(),
        "control": np.linspace(0.2, 0.6, 100).tolist(),
        "planted": {"JPEG": figure(1.0), "noise": figure(0.97)},
        "authentic": plain(Figure(float("nan"), float("nan"), float("nan"), 0)),
        "authentic_held_out": figure(0.7),
        "alarms": [
            {"file_name": f"images/{k}.png", "distance": 0.01 * k, "training_image": hashed_id(str(k))}
            for k in range(alarms)
        ],
    }


def anatomy() -> dict[str, Any]:
    """Figures of drawn numbers, in the form that they are measured in."""
    generator = np.random.default_rng(0)
    values = {name: generator.normal(1, 0.1, 160) for name in NAMES} | {name: np.full(160, 0.5) for name in RANGED}
    values |= {
        "lungs": np.full(160, 2.0),
        "hearts": np.ones(160),
        "cardiothoracic_ratio": generator.normal(0.5, 0.05, 160),
    }
    sets = [Measured(values, tuple(f"{side} {k}" for k in range(160)), ("",) * 160) for side in "rs"]
    return dict(plain(compare_anatomy(sets[0], sets[1], "toy (0123)")))


def results() -> dict[str, Any]:
    comparison = {name: figure(0.1 + 0.1 * k) for k, name in enumerate(METRICS)}
    pair = {"synthetic": figure(0.8), "real": figure(0.85)}
    counts = {"images": 200, "patients": 150, "excluded": {"corrupt": 2, "duplicate": 1}}
    sets: dict[str, dict[str, Any]] = {name: {"folder": name, **counts} for name in ("real", "synthetic", "train")}
    sets["synthetic"]["excluded_rows"] = ["corrupt: torn.png (cut short)"]
    return {
        "sets": sets,
        "fidelity": [
            {
                "extractor": "texture",
                "note": "hand-made",
                "n": 75,
                "synthetic": comparison,
                "floor": {**comparison, "kid": figure(0.199)},
                "groups": {"sex=F": {"kid": figure(0.3), "floor": figure(0.01), "n_real": 40, "n_synthetic": 50}},
            }
        ],
        "judge": {
            "name": "j",
            "fingerprint": "0123",
            "figures": {"findings": {"Edema": {"auroc": [0.81, 0.75, 0.87]}}},
        },
        "alignment": {
            "findings": {
                "Edema": {
                    "auroc": pair,
                    "balanced_accuracy": pair,
                    "present": 31,
                    "absent": 47,
                    "real_present": 53,
                    "real_absent": 59,
                }
            },
            **dict.fromkeys(("mean_auroc", "sex", "view", "child", "age_error", "age_bias"), pair),
            "unread": ["a.png"],
        },
        "anatomy": anatomy(),
        "diversity": {
            "extractor": "texture",
            "within": "prompt",
            "label": "findings",
            "ms_ssim": spread(0.4),
            "distance": spread(1.2),
        },
        "privacy": {
            "wished_rate": 0.01,
            "n_training": 1000,
            "n_held_out": 100,
            "held_out_patients": 90,
            "shared_patients": 3,
            "identical": 0,
            "copy_limit": 0.08,
            "copied": plain(proportion(0, 200)),
            "copied_held_out": plain(proportion(0, 100)),
            "channels": {"pixels after alignment": channel(2)},
            "rare_words": {
                "most": 3,
                "captions": 1000,
                "words": figure(0.05),
                "pairs": figure(0.2),
                "listed": [["scimitar", 1, 4]],
                "flagged": 9,
                "alarms": figure(0.0),
                "alarms_elsewhere": figure(0.01),
            },
        },
        "made": {"command": "gen evaluate --real real"},
        "warnings": ["only 200 real images: below 500 all intervals are wide"],
        "missing": {},
    }


def picture(words: str, real: bool = True) -> Picture:
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    return Picture(image, image if real else None, words)


class Page(HTMLParser):
    """Checks that tags are closed in their order; collects text, tags, and where links lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_needs_nothing_but_itself_and_no_script() -> None:
    html = to_html(results(), Pictures((picture("A prompt."),), (picture("closest"),)))
    page = Page(html)
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:image/") for link in page.links)
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]*"', "", html))
    assert '<meta name="viewport"' in html


def test_every_figure_of_the_results_stands_on_the_page_with_its_interval() -> None:
    of = results()
    text = Page(to_html(of, Pictures())).text
    for key, (_, _, digits) in METRICS.items():
        assert figure_text(of["fidelity"][0]["synthetic"][key], digits) in text
    for wanted in (
        "0.80 [0.79, 0.81]",
        "31 / 47",
        "53 / 59",
        "2 corrupt, 1 duplicate",
        "torn.png",
        "scimitar",
        "0.81 0.75 0.87",
    ):
        assert wanted in text
    assert "1.0 % [0.3, 3.6]" in text  # 2 alarms of 200, Wilson
    assert "n/a" in text
    for alarm in of["privacy"]["channels"]["pixels after alignment"]["alarms"]:
        assert alarm["training_image"] in text


def test_the_verdict_comes_first() -> None:
    of = results()
    text = Page(to_html(of, Pictures())).text
    lines = verdict(of)
    places = [text.index(line) for line in lines] + [text.index("The sets")]
    assert places == sorted(places)
    assert lines[0].startswith("No sign of copies beyond chance; ")


def test_the_verdict_follows_the_figures() -> None:
    good = results()
    good["fidelity"][0]["floor"]["kid"] = figure(0.2)
    assert verdict(good)[0] == (
        "No sign of copies beyond chance; it is not seen to differ from real images; its anatomy is not seen to differ "
        "from that of real images; it follows its prompts, less clearly than real images do; images of one prompt are "
        "not seen to be too alike."
    )
    bad = copy.deepcopy(good)
    bad["fidelity"][0]["synthetic"]["kid"] = figure(0.9)
    bad["anatomy"]["synthetic"]["whole"] = figure(0.4)
    bad["alignment"]["mean_auroc"]["synthetic"] = figure(0.505)
    bad["diversity"]["ms_ssim"]["synthetic"] = figure(0.8)
    bad["privacy"]["channels"]["pixels after alignment"] = channel(20)
    assert verdict(bad)[0] == (
        "It comes too near to patients; it can be told from real images; fewer of its images are whole chests than of "
        "real ones; it is not seen to follow its prompts; images of one prompt are too alike."
    )
    bad["anatomy"]["synthetic"]["whole"] = bad["anatomy"]["real"]["whole"]
    bad["anatomy"] |= {"distance": figure(0.9), "floor": figure(0.1)}
    assert "; its chests are shaped unlike real ones; " in verdict(bad)[0]
    for change, words in (
        ({"copied": plain(proportion(1, 200))}, "Some images may be copies of patients"),
        ({"copied": plain(proportion(30, 200))}, "It holds copies of patients"),
        ({"identical": 1}, "It holds copies of patients"),
    ):
        bad["privacy"] |= change
        assert verdict(bad)[0].startswith(words)


@pytest.mark.parametrize(("patients", "images"), [(100, 1), (500, 1), (170, 5)])
def test_a_set_of_unseen_patients_is_seldom_said_to_come_too_near(patients: int, images: int) -> None:
    """The threshold is drawn from few images: to compare with its nominal rate would cry wolf in one set of eight."""
    generator = np.random.default_rng(0)
    cries = []
    for _ in range(3000):
        own = np.repeat(generator.standard_normal(patients), generator.integers(1, images + 1, patients))
        threshold, rate = copy_threshold(own + 0.3 * generator.standard_normal(len(own)), 0.01)
        alarms = int((generator.standard_normal(1000) * 1.09**0.5 < threshold).sum())
        cries.append(beyond_chance({"rate": rate, "alarms": range(alarms), "synthetic": {"n": 1000}}, patients))
    assert 0.01 < np.mean(cries) < 0.025 + 3 * (0.025 / 3000) ** 0.5


def test_where_only_an_index_was_searched_the_verdict_says_so() -> None:
    of = results()
    for key in ("copied", "copied_held_out", "copy_limit", "held_out_patients", "rare_words", "identical"):
        del of["privacy"][key]
    of["privacy"]["channels"] = {"reference index": {**channel(2), "name": "reference index"}}
    lines = verdict(of)
    assert lines[0].startswith("No sign of copies beyond chance, in the judge’s index; ")
    assert "nearer to an image of the judge’s index (reference index)" in lines[1]


def test_an_interval_that_is_not_known_is_not_written_as_zero() -> None:
    of = results()
    of["fidelity"][0]["synthetic"]["kid"] = {"value": 0.3, "low": None, "high": None, "n": 9}
    assert "texture 0.3 [?, ?] against" in "".join(verdict(of))


def test_what_is_missing_is_said_with_its_reason() -> None:
    of = results()
    del of["alignment"], of["privacy"], of["judge"], of["anatomy"]
    of["missing"] = {
        "alignment": "there is no judge",
        "privacy": "no --train folder was given",
        "anatomy": "no bundled network",
    }
    text = Page(to_html(of, Pictures())).text
    assert text.count("no bundled network") == 2
    assert text.count("there is no judge") == 2
    assert text.count("no --train folder was given") == 2


def test_words_from_the_sets_cannot_become_markup() -> None:
    of = results()
    evil = '<script>alert("x")</script>'
    of["sets"]["real"]["folder"] = of["warnings"][0] = of["judge"]["name"] = evil
    of["privacy"]["channels"]["pixels after alignment"]["alarms"][0]["file_name"] = evil
    page = Page(to_html(of, Pictures((picture(evil),))))
    assert "script" not in page.tags
    assert page.text.count(evil) == 5


def test_without_real_images_only_synthetic_ones_are_embedded() -> None:
    page = to_html(results(), Pictures(tuple(picture(f"{k}", real=False) for k in range(5))))
    assert page.count("data:image/jpeg") == page.count('alt="synthetic"') == 5
    shown = to_html(results(), Pictures((picture("0"),)))
    assert shown.count("data:image/jpeg") == 2


def test_equal_results_give_equal_bytes_and_their_json_holds_no_nan() -> None:
    of = results()
    first = to_html(of, Pictures((picture("A."),)))
    assert first == to_html(json.loads(json.dumps(of, allow_nan=False)), Pictures((picture("A."),)))


def test_charts_draw_each_known_figure_and_bear_unknown_ones() -> None:
    unknown = plain(Figure(float("nan"), float("nan"), float("nan"), 0))
    both = charts.dots({"a": {"synthetic": figure(0.4), "real": figure(0.6)}}, ("synthetic", "real"), "AUROC")
    one = charts.dots({"a": {"synthetic": figure(0.4), "real": unknown}}, ("synthetic", "real"), "AUROC")
    colours = [colour.lower() for colour, _, _ in charts.STYLES[:2]]
    for colour in colours:
        assert colour in both
    assert one.count(colours[1]) < both.count(colours[1])
    assert one.count(colours[0]) == both.count(colours[0])
    assert charts.distances({"synthetic": [], "real": [0.3]}, "distance", None).startswith("<svg")


def test_numbers_are_written_without_a_negative_zero() -> None:
    assert figure_text({"value": 0.0, "low": -7e-18, "high": 0.0856, "n": 41}, 1, True) == "0.0 % [0.0, 8.6]"
    assert figure_text({"value": None, "low": None, "high": None, "n": 0}) == "n/a"


@pytest.mark.parametrize(("gap", "wanted"), [(0.013, False), (0.015, True), (-0.1, False)])
def test_higher_is_what_the_interval_of_the_difference_says(gap: float, wanted: bool) -> None:
    # Two half-widths of 0.01 make one of 0.0141 for the difference.
    assert above(figure(0.5 + gap), figure(0.5)) is wanted


def test_the_hashed_name_of_a_training_image_is_not_its_hash() -> None:
    assert hashed_id("ab12") == hashed_id("ab12") != hashed_id("ab13")
    assert "ab12" not in hashed_id("ab12")
