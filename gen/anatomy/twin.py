"""Organ masks beside each image of a data set: the twin "organs" of `gen dataset make`."""

from __future__ import annotations

from functools import cache

import numpy as np

from gen.anatomy.folder import Anatomy, load_anatomy
from gen.anatomy.reading import label_map, read_anatomy
from gen.core.radiograph import Radiograph


def organs(image: Radiograph) -> Radiograph:
    """The label map of ``image`` by the bundled network, as of `label_map`; all 0 where it is no upright frontal chest,
    for which the provenance has the reason."""
    [reading] = read_anatomy(_network(), [image.pixels])
    height, width = image.pixels.shape
    facts = {"shows": "organs", **({"refused": reading.refused} if reading.refused else {})}
    labels = np.zeros((height, width), np.float32) if reading.refused else label_map(reading, (height, width))
    return Radiograph(labels, image.spacing_mm, {**image.provenance, **facts})


@cache
def _network() -> Anatomy:
    return load_anatomy()
