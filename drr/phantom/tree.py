"""Trees of vessels that fill a lung: points scattered in it, joined one by one to the nearest branch.

Branches widen towards the hilum by Murray's law (PNAS 12, 207, 1926): radius^e is the sum over the branches beyond,
with e = ln 3.36 / ln 1.56 = 2.7 from the branching and diameter ratios of pulmonary arteries (Huang et al., J. Appl.
Physiol. 81, 2123, 1996), where his own is 3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from drr.phantom.shapes import Shape

CANDIDATES = 6
EXPONENT = 2.7
STRAIGHT = 0.6
"""What a millimetre of way to the hilum counts beside one of a new branch: 0 is the shortest tree, 1 a star."""


def scatter(shape: Shape, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points (N, 3) of a solid, evenly spread: of several candidates the one farthest from the others."""
    low, high = shape.bounds_mm()
    pool = np.empty((0, 3))
    while len(pool) < CANDIDATES * count:
        drawn = rng.uniform(low, high, (CANDIDATES * count, 3))
        pool = np.vstack([pool, drawn[shape.contains(drawn)]])
    points = np.empty((count, 3))
    for number in range(count):
        candidates = pool[CANDIDATES * number : CANDIDATES * (number + 1)]
        distance = np.linalg.norm(candidates[:, None] - points[None, :number], axis=-1).min(1, initial=np.inf)
        points[number] = candidates[np.argmax(distance)]
    return points


def grow(roots: np.ndarray, leaves: np.ndarray, leaf_mm: float) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Branches (start, end, radius) from ``roots`` (M, 3), a path from the hilum inwards, to all ``leaves`` (N, 3).

    Leaves are taken from near to far; each joins the branch point that costs least: the distance to it and a part of
    the way from there to the hilum (Cuntz et al., PLoS Comput. Biol. 6, e1000877, 2010).
    """
    nodes, parents = np.empty((len(roots) + 2 * len(leaves), 3)), np.zeros(len(roots) + 2 * len(leaves), np.int64)
    way_mm = np.zeros(len(nodes))
    count = len(roots)
    nodes[:count], parents[1:count] = roots, np.arange(count - 1)
    way_mm[1:count] = np.cumsum(np.linalg.norm(np.diff(roots, axis=0), axis=1))
    for leaf in leaves[np.argsort(np.linalg.norm(leaves - roots[0], axis=1))]:
        distance = np.linalg.norm(leaf - nodes[:count], axis=1)
        best = int(np.argmin(distance + STRAIGHT * way_mm[:count]))
        # A point between makes the branch leave in its parent's direction and bend.
        came = nodes[best] - nodes[parents[best]]
        bend = came / max(float(np.linalg.norm(came)), 1e-9) * distance[best] * 0.12
        nodes[count], nodes[count + 1] = (nodes[best] + leaf) / 2 + bend, leaf
        parents[count], parents[count + 1] = best, count
        way_mm[count : count + 2] = way_mm[best] + distance[best] * np.array([0.5, 1.0])
        count += 2
    load = np.zeros(count)
    load[np.bincount(parents[1:], minlength=count) == 0] = 1
    for number in range(count - 1, 0, -1):
        load[parents[number]] += load[number]
    for number in range(1, count):
        yield nodes[parents[number]], nodes[number], float(leaf_mm * load[number] ** (1 / EXPONENT))
