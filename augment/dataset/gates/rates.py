"""How real films fare at the gates: who passes by thresholds from other patients' films, and what gets through.

In every share each patient weighs 1, as in the thresholds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from augment.dataset.gates.calibration import Film, Limits, cross_fitted
from augment.dataset.gates.scores import opposite_of, rounded
from gen.statistics.groups import ALL, by_size, crossed
from gen.statistics.intervals import Figure, patient_share

Fit = Callable[[Sequence[Film]], Mapping[str, Limits]]  # limits of all groups, whatever their size
Passed = Mapping[str, bool]  # by kind of gate, whether a film passes


def rates(films: Sequence[Film], limits: Mapping[str, Limits], least_films: int, fit: Fit) -> dict[str, Any]:
    """For JSON: "kinds", what each kind's ``limits`` are and who passes them, and "joint", who passes all, by group.

    "passed" is the share of real films that pass, and "others" that of films of the opposite kind (without the finding,
    of the other sex or view) which pass for it: what the gate does not stop.
    """
    passed = outcomes(films, limits, fit)
    kinds = {
        kind: {
            "groups": {
                key: {
                    "threshold": limit.threshold,
                    "films": limit.films,
                    "patients": limit.patients,
                    "passed": share_of(films, passed, key, partial(at, kind)).as_dict(),
                    "others": _others(films, each, kind, key).as_dict(),
                }
                for key, limit in each.groups.items()
            },
            "pooled": dict(each.pooled),
        }
        for kind, each in limits.items()
    }
    large = large_groups(films, least_films)
    return {
        "kinds": kinds,
        "joint": {key: share_of(films, passed, key, all_of_its_own).as_dict() for key in large},
    }


def outcomes(films: Sequence[Film], limits: Mapping[str, Limits], fit: Fit) -> list[dict[str, bool]]:
    """By film, what it passes by the limits that ``fit`` makes of other patients' films, for the groups of ``limits``.

    The limit for copies stays as it is: it came with the judge, whose held-out films may be these.
    """

    def of_others(chosen: Sequence[Film]) -> dict[str, Limits]:
        fitted = fit(chosen)
        kept = {}
        for kind, each in limits.items():
            if kind in fitted:
                groups = {key: limit for key, limit in fitted[kind].groups.items() if key in each.groups}
                kept[kind] = Limits(groups, {})
            elif kind == "copy":
                kept[kind] = each
        return kept

    passed: list[dict[str, bool]] = [{} for _ in films]
    for place, hits in cross_fitted(films, of_others):
        passed[place] = hits
    return passed


def share_of(
    films: Sequence[Film], passed: Sequence[Passed], key: str, says: Callable[[Passed], bool | None]
) -> Figure:
    """The share of the films of group ``key`` of whose ``passed`` gates ``says`` is true; None does not count."""
    members = [(says(hits), film.patient) for film, hits in zip(films, passed, strict=True) if key in _keys(film)]
    counted = [(hit, patient) for hit, patient in members if hit is not None]
    return patient_share([hit for hit, _ in counted], [patient for _, patient in counted])


def large_groups(films: Sequence[Film], least_films: int) -> list[str]:
    """The groups of at least ``least_films`` films, and "all", the widest first."""
    sizes = Counter(key for film in films for key in _keys(film))
    return [key for key in sorted(sizes, key=by_size) if key == ALL or sizes[key] >= least_films]


def at(kind: str, passed: Passed) -> bool | None:
    """Whether a film passes the gate of ``kind``; None where it is no film of it."""
    return passed.get(kind)


def all_of_its_own(passed: Passed) -> bool | None:
    """Whether a film passes all that a prompt of its labels is held to, which seldom says what is absent."""
    own = [hit for kind, hit in passed.items() if not kind.startswith("finding: no ")]
    return all(own) if own else None


def _others(films: Sequence[Film], limits: Limits, kind: str, key: str) -> Figure:
    opposite = opposite_of(kind)
    members = [film for film in films if opposite in film.scores and key in _keys(film)]
    hits = [rounded(1 - film.scores[opposite]) >= limits.threshold(film.attributes) for film in members]
    return patient_share(hits, [film.patient for film in members])


def _keys(film: Film) -> frozenset[str]:
    return _keys_of(tuple(film.attributes.items()))


@cache
def _keys_of(attributes: tuple[tuple[str, str], ...]) -> frozenset[str]:
    return frozenset(crossed(dict(attributes)))
