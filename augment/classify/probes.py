"""Probes for shortcuts: test images with blanked organs and such with nothing else left, sources told, devices apart.

A classifier that still tells findings where no organ is to be seen reads markers, devices or the look of a source; one
whose embedding tells the source has what it needs for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.network import ORGANS
from gen.data.rows import study_of
from gen.data.split import patient_of

if TYPE_CHECKING:
    from gen.core.manifest import Row

SEEN = ("right lung", "left lung", "heart", "mediastinum")  # where the findings are
PROBES = ("organs blanked", "all else blanked")
SOURCE = "source told"
LEAST_PATIENTS = 10  # of a source that is to be told: two for each of FOLDS
FOLDS = 5
_BLOCK = 32  # images in memory as floats


def probes_of(pixels_u8: np.ndarray, anatomy: Anatomy | None = None) -> dict[str, np.ndarray]:
    """uint8 ``pixels_u8`` (N, S, S) as PROBES have them, by name; what is blanked has the mean of the image.

    ``anatomy`` finds the organs; None: the bundled network.
    """
    network = anatomy or load_anatomy()
    columns = [ORGANS.index(organ) for organ in SEEN]
    made = {name: np.array(pixels_u8) for name in PROBES}
    for start in range(0, len(pixels_u8), _BLOCK):
        part = np.asarray(pixels_u8[start : start + _BLOCK])
        organs = (network.probabilities(part.astype(np.float32) / 255)[:, columns] >= 0.5).any(1)
        mean = np.broadcast_to(np.rint(part.mean((1, 2), keepdims=True)), part.shape).astype(np.uint8)
        for name, hidden in zip(PROBES, (organs, ~organs), strict=True):
            made[name][start : start + _BLOCK] = np.where(hidden, mean, part)
    return made


def source_labels(rows: Sequence[Row]) -> np.ndarray:
    """float32 (N, S): 1 in the column of an image's source, else 0, by the names of the S sources of LEAST_PATIENTS
    and more; NaN for images of others. S is 0 where there are not two such sources."""
    patients = Counter(source for source, _ in {(row.source, patient_of(row)) for row in rows})
    large = sorted(source for source, count in patients.items() if count >= LEAST_PATIENTS)
    if len(large) < 2:
        return np.empty((len(rows), 0), np.float32)
    labels = np.array([[row.source == source for source in large] for row in rows], np.float32)
    labels[~labels.any(1)] = np.nan
    return labels


def source_scores(embedding: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    """Probabilities (N, S) of each source of `source_labels`, as a logistic regression on ``embedding`` (N, E) tells
    them that learnt from other patients; NaN where the label is."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = source_labels(rows)
    scores = np.full(labels.shape, np.nan, np.float32)
    if not labels.shape[1]:
        return scores
    known = np.flatnonzero(~np.isnan(labels[:, 0]))
    points, place = embedding[known], labels[known].argmax(1)
    patients = [patient_of(rows[i]) for i in known.tolist()]
    for learnt, told in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(points, place, patients):
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
            points[learnt], place[learnt]
        )
        scores[np.ix_(known[told], regression.classes_)] = regression.predict_proba(points[told])
    return np.where(np.isnan(labels), np.nan, np.nan_to_num(scores))


def have_devices(rows: Sequence[Row]) -> np.ndarray:
    """Whether the labels of each row name a device, bool (N,)."""
    states = [study_of(row).findings.get("Support Devices") for row in rows]
    return np.array([state is not None and state.state == "present" for state in states], bool)
