"""Bodies that sampling starts from: anatomy by physics, and the look of film by the model.

Who makes bodies stands above this package: an entry point of the group ANATOMY, loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gen.core.errors import EnvironmentLacks
from gen.core.radiograph import Radiograph, write_png
from gen.language.study import Study
from gen.model.sampling.variation import vary, vary_mask

if TYPE_CHECKING:
    from gen.core.manifest import Row

ANATOMY = "cxr_gen.anatomy"  # of entry points: a function from "phantom", or the place of a CT, to `Bodies`


@dataclass(frozen=True, eq=False)
class Body:
    """A projected body, framed as the images of a model are: what sampling starts from, and what is true of it.

    ``image`` (S, S). ``bone`` float32 (S, S) is what bone adds to its grey levels. ``masks`` bool (S, S) by structure;
    ``held`` is where something was put in, which the model shall leave as it is.
    ``study`` is what it shows, with what was drawn. ``patient`` is a name that nobody has. ``facts`` go into the
    provenance of what is made from it.
    """

    image: Radiograph
    bone: np.ndarray
    masks: Mapping[str, np.ndarray]
    held: np.ndarray
    study: Study
    patient: str
    licence: str
    weights_may_learn: bool
    facts: Mapping[str, str]

    @property
    def lungs(self) -> np.ndarray:
        """Both lungs, bool (S, S); nothing where they are not known."""
        known = [self.masks[name] for name in ("right lung", "left lung") if name in self.masks]
        return np.any(known, axis=0) if known else np.zeros_like(self.held)


@dataclass(frozen=True, eq=False)
class OfBody:
    """An image that was sampled from ``body``, the same without bone, and its masks bool (S, S) by structure."""

    body: Body
    image: Radiograph
    soft: Radiograph
    masks: Mapping[str, np.ndarray]


class Bodies(Protocol):
    """Bodies that Studies are shown with, each decided by its Study and its seed alone."""

    def obstacle(self, study: Study) -> str | None:
        """Why no body can show ``study``; None where one can."""

    def make(self, study: Study, seed: int, size: int, *, canonical: bool) -> Body:
        """A body of ``size`` pixels a side; ``canonical``: in the frame and the exposure of `gen data prepare`.

        GenError where it cannot be made after all.
        """


def open_bodies(where: str) -> Bodies:
    """The bodies of ``where``: "phantom", or a CT. BadInput for a CT that is not there."""
    for point in entry_points(group=ANATOMY):
        opened: Bodies = point.load()(where)
        return opened
    raise EnvironmentLacks("nothing installed makes bodies for --anatomy", hint="install the package whole")


def started_from(bodies: Sequence[Body], capabilities: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `gen.model.sampling.pipeline.sample` is given to start from ``bodies``, and to hold of them."""
    return {
        "init": [body.image for body in bodies],
        "held": [held_region(body, capabilities) for body in bodies],
    }


def held_region(body: Body, capabilities: Mapping[str, Any] | None) -> np.ndarray:
    """The pixels, bool (S, S), that sampling leaves as ``body`` has them.

    They are the whole image where the model of ``capabilities`` never learnt the view of ``body``, because it would
    paint another one.
    """
    views = (capabilities or {}).get("views")
    strange = views is not None and body.study.view not in views
    return np.ones_like(body.held) if strange else body.held


def finished(image: Radiograph, body: Body, *, vary_by: int | None = None) -> OfBody:
    """``image``, sampled from ``body``, with its truth; ``vary_by``: all in the pose and exposure of that seed."""
    share = bone_share(image.pixels, body)
    image = replace(image, provenance={**image.provenance, **body.facts, "bone_share": f"{share:.3f}"})
    without = np.clip(image.pixels - min(max(share, 0), 1) * body.bone, 0, 1).astype(np.float32)
    soft = replace(image, pixels=without, provenance={**image.provenance, "shows": "soft"})
    if vary_by is None:
        return OfBody(body, image, soft, body.masks)
    masks = {name: vary_mask(mask, vary_by) for name, mask in body.masks.items()}
    return OfBody(body, vary(image, vary_by), vary(soft, vary_by), masks)


def bone_share(image: np.ndarray, body: Body) -> float:
    """How much of the ribs of ``body`` is left in ``image`` (S, S): the slope of fine detail over theirs, in the lungs.

    1 where nothing is known of lungs or bone.
    """
    where = body.lungs & ~body.held
    if not where.any():
        return 1.0
    seen, bone = (_detail(pixels)[where] for pixels in (image, body.bone))
    spread = float(np.square(bone - bone.mean()).sum())
    return float(((seen - seen.mean()) * (bone - bone.mean())).sum()) / spread if spread > 0 else 1.0


def _detail(pixels: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(pixels - gaussian_filter(pixels, len(pixels) / 32))


def write_truth(out: Path, stem: str, made: OfBody) -> dict[str, str]:
    """Write soft/``stem``.png and a PNG of 0 and 255 for each mask into masks/``stem``/; columns for the manifest."""
    (out / "soft").mkdir(parents=True, exist_ok=True)
    write_png(out / "soft" / f"{stem}.png", made.soft)
    folder = out / "masks" / stem
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in made.masks.items():
        picture = Radiograph(mask.astype(np.float32), None, {"synthetic": "yes", "mask": name})
        write_png(folder / f"{name.replace(' ', '_')}.png", picture)
    return {"soft_file_name": f"soft/{stem}.png", "masks_folder": f"masks/{stem}"}


def with_body(row: Row, body: Body, columns: Mapping[str, str]) -> Row:
    """``row`` of an image that was sampled from ``body``, with the body's labels and terms and further ``columns``."""
    from gen.data.rows import labels_of

    labels: dict[str, Any] = labels_of(body.study)
    return replace(
        row,
        patient_id=body.patient,
        licence=f"{row.licence}; body: {body.licence or 'unknown'}",
        weights_may_learn=row.weights_may_learn and body.weights_may_learn,
        notes=body.facts["anatomy"],
        extra={**row.extra, **columns},
        **labels,
    )
