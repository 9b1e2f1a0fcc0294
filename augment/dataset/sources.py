"""Where the images of a data set come from: the model and the projector behind one face, and the twins of their images.

An image depends on its row, its seed and the config alone: not on its company, nor on who makes it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from augment.dataset.config import DatasetConfig
from augment.dataset.retry import AGAIN, retry
from augment.dataset.shards.records import ANATOMY, DRR, MODEL, PlanRow
from augment.dataset.shards.samples import require_twin_names
from gen.core.bundled import bundled_model
from gen.core.errors import BadInput, GenError
from gen.core.files import read_json
from gen.core.radiograph import Radiograph
from gen.core.threads import use_threads
from gen.judge.framings import AS_IT_IS, PREPARED, VARIED
from gen.language.prompt import token_budget_warning
from gen.language.render import longest_style, with_style
from gen.language.tokens import token_counter
from gen.model.capabilities import has_canonical_frame, off_grid, read_capabilities, sampling_defaults, style_of
from gen.model.folder import check_model_folder, model_hash

if TYPE_CHECKING:
    import numpy as np

    from gen.model.sampling.anatomy import Body
    from gen.model.sampling.pipeline import Pipeline

TWINS = "cxr_gen.twins"  # the group of entry points: a name, and a function from a Radiograph to one of the same shape
_DECIDING = ("cxr-gen", "diffusers", "numpy", "torch", "transformers", "xformers")
_DECIDING_PROJECTIONS = ("cxr-gen", "numba", "numpy", "pillow", "scipy", "SimpleITK", "xraydb")

Twin = Callable[[Radiograph], Radiograph]


class Picture(NamedTuple):
    """An image with its twins; ``painted`` (H, W) is the same in the pose and exposure that the model gave it, where
    others were drawn: a copy of a training image shows there."""

    image: Radiograph
    twins: Mapping[str, Radiograph]
    painted: np.ndarray | None = None


Outcome = Picture | GenError


@dataclass(frozen=True)
class Sources:
    """What a process makes images with; the model is loaded with the first row that needs it, and stays."""

    config: DatasetConfig
    twins: Mapping[str, Twin]

    @cached_property
    def pipeline(self) -> Pipeline:
        """The model, with the config's number of CPU threads, which is set for the whole process."""
        from gen.model.sampling.pipeline import load_pipeline

        config = self.config
        use_threads(config.threads)
        return load_pipeline(_folder(config), device=config.device, dtype=config.dtype, backend=config.backend)

    def make(self, rows: Sequence[PlanRow], seeds: Sequence[int]) -> Iterator[Outcome]:
        """The image of each row and its twins by name, in order, as they are finished.

        What is wrong with a row and its seed, such as an image that came out flat, is a GenError in its place, and the
        others go on. What fails for another reason is tried once more; GenError is raised where the model fails again,
        or the disk or the memory, for that is no row's fault and must not cost it a try.
        """
        chosen = list(zip(rows, seeds, strict=True))
        made = {
            MODEL: self._sampled([pair for pair in chosen if pair[0].source == MODEL]),
            DRR: self._projected([pair for pair in chosen if pair[0].source == DRR]),
            ANATOMY: self._painted([pair for pair in chosen if pair[0].source == ANATOMY]),
        }
        for row in rows:
            outcome = next(made[row.source])
            yield outcome if isinstance(outcome, GenError) else self._with_twins(row, outcome)

    def _sampled(self, pairs: Sequence[tuple[PlanRow, int]]) -> Iterator[Outcome]:
        if not pairs:
            return
        from gen.model.sampling.variation import vary

        for (_, seed), image in zip(pairs, self._images(pairs), strict=True):
            if isinstance(image, GenError):
                yield image
            elif self._varied:
                yield Picture(vary(image, seed), {}, painted=image.pixels)
            else:
                yield Picture(image, {})

    def _painted(self, pairs: Sequence[tuple[PlanRow, int]]) -> Iterator[Outcome]:
        if not pairs:
            return
        from augment.dataset.painted import body_of, twins_of
        from gen.model.sampling.anatomy import finished

        size, together = self.config.size or self.pipeline.configs.size, self.pipeline.rows
        canonical = framing_of(self.config) != AS_IT_IS
        for start in range(0, len(pairs), together):
            some = pairs[start : start + together]
            bodies = [body_of(row, seed, self.config, size, canonical=canonical) for row, seed in some]
            whole = [(pair, body) for pair, body in zip(some, bodies, strict=True) if not isinstance(body, GenError)]
            images = self._images([pair for pair, _ in whole], [body for _, body in whole])
            for (_, seed), body in zip(some, bodies, strict=True):
                if isinstance(body, GenError):
                    yield body
                    continue
                image = next(images)
                if isinstance(image, GenError):
                    yield image
                    continue
                made = finished(image, body, vary_by=seed if self._varied else None)
                yield Picture(made.image, twins_of(made), painted=image.pixels if self._varied else None)

    @cached_property
    def _varied(self) -> bool:
        """Whether pose and exposure are drawn: of a model that paints all chests in one frame and exposure."""
        return framing_of(self.config) == VARIED

    def _images(
        self, pairs: Sequence[tuple[PlanRow, int]], bodies: Sequence[Body] = ()
    ) -> Iterator[Radiograph | GenError]:
        """What the model makes of each row, from its body where there are ``bodies``; GenError as of `make`."""
        from gen.model.sampling.anatomy import started_from
        from gen.model.sampling.pipeline import sample_each

        config = self.config
        steps, guidance = steps_and_guidance(config, self.pipeline.capabilities)
        how: dict[str, Any] = {"steps": steps, "guidance": guidance, "size": config.size}
        if bodies:
            how["strength"] = config.projections.strength

        def sampled(places: Sequence[int]) -> Iterator[Radiograph | GenError]:
            some = [pairs[k] for k in places]
            begun = [bodies[k] for k in places] if bodies else []
            return sample_each(
                self.pipeline,
                [row.prompt for row, _ in some],
                [seed for _, seed in some],
                **started_from(begun, self.pipeline.capabilities),
                **how,
            )

        for k, image in enumerate(sampled(range(len(pairs)))):
            if isinstance(image, GenError) and image.__cause__ is not None:
                [image] = sampled([k])
                if isinstance(image, GenError) and image.__cause__ is not None:
                    raise GenError(str(image), hint=AGAIN) from image.__cause__
            yield image

    def _projected(self, pairs: Sequence[tuple[PlanRow, int]]) -> Iterator[Outcome]:
        if not pairs:
            return
        from augment.dataset.projected import project_each

        for outcome in project_each([row for row, _ in pairs], [seed for _, seed in pairs], self.config):
            yield outcome if isinstance(outcome, GenError) else Picture(*outcome[:2])

    def _with_twins(self, row: PlanRow, picture: Picture) -> Outcome:
        """``picture`` with all its twins: those that its source made, and the others by their functions."""
        twins, (image, own, _) = {}, picture
        for name in self.config.twins:
            if name not in own and name not in self.twins:
                return GenError(f"row {row.number} has no twin {name!r}: only projections have one of themselves")
            twin = own[name] if name in own else retry(f"row {row.number}: its twin {name!r}", self.twins[name], image)
            if isinstance(twin, GenError):
                return twin
            if twin.pixels.shape != image.pixels.shape:
                return GenError(f"row {row.number}: its twin {name!r} has the shape {twin.pixels.shape}")
            twins[name] = twin
        return picture._replace(twins=twins)


def open_source(config: DatasetConfig) -> Sources:
    """What makes the images of ``config`` in this process. BadInput for a twin that nobody makes; nothing is loaded."""
    return Sources(config, _twins(config))


def framing_of(config: DatasetConfig) -> str:
    """The framing, one of FRAMINGS, that the images of the model of ``config`` are judged and shown in."""
    if not has_canonical_frame(read_capabilities(_folder(config))):
        return AS_IT_IS
    return VARIED if config.vary else PREPARED


def capabilities_of(config: DatasetConfig) -> dict[str, Any] | None:
    """What the model of ``config`` says that it learnt; None for one that says nothing. Without loading it.

    BadInput for a folder that is no model, for a size or a number of steps that it cannot make, and for other steps or
    guidance than a distilled one learnt, unless every image that can be is to be a projection.
    """
    from gen.model.sampling.settings import check_folder_settings

    folder = _folder(config)
    check_model_folder(folder)
    capabilities = read_capabilities(folder)
    if _projections_only(config) and not config.projections.strength:
        return capabilities
    steps, guidance = steps_and_guidance(config, capabilities)
    check_folder_settings(folder, config.size, steps)
    if off_grid(capabilities, steps, guidance):
        raise BadInput(
            f"steps is {steps} and guidance is {guidance:g}, and {folder} was distilled to others",
            hint="leave both out of the config: the model brings its own",
        )
    return capabilities


def steps_and_guidance(config: DatasetConfig, capabilities: Mapping[str, Any] | None) -> tuple[int, float]:
    """Those of ``config``, and where it names none, those of its model, of these ``capabilities``."""
    told = sampling_defaults(capabilities)
    return (
        told["steps"] if config.steps is None else config.steps,
        told["guidance"] if config.guidance is None else config.guidance,
    )


def inputs_of(config: DatasetConfig) -> dict[str, str]:
    """What else than the config and the plan decides the images: the content of model and CTs, and what runs them.

    Loads no model, but reads every byte of it and of the CTs. BadInput for a twin that nobody makes.
    """
    folder = _folder(config)
    check_model_folder(folder)
    network = _network(config, folder)
    steps, guidance = steps_and_guidance(config, read_capabilities(folder))
    inputs = {
        "model": folder.resolve().name,
        "model_hash": model_hash(folder),
        "sampler": str(read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name")),
        "steps": str(steps),
        "guidance": f"{guidance:g}",
        "network": network,
        "software": _versions([*_DECIDING, *(["openvino"] if "openvino" in network else [])]),
    }
    if config.projections.use != "never":
        from drr.job import digest_of
        from drr.projector import pick_backend

        cts = config.projections.cts
        inputs |= {"projector": f"{pick_backend()}, {config.threads} threads", "patients": "" if cts else "phantom"}
        # By number: a file's name may be a person's.
        inputs |= {f"ct {number}": digest_of(Path(ct)) for number, ct in enumerate(cts, 1)}
        inputs |= {"strength": f"{config.projections.strength:g}"} if config.projections.strength else {}
        inputs["projecting software"] = _versions(_DECIDING_PROJECTIONS)
    points = entry_points(group=TWINS)
    for name in _twins(config):
        package = points[name].dist
        inputs[f"twin {name}"] = points[name].value + (f" of {package.name} {package.version}" if package else "")
    return inputs


def _network(config: DatasetConfig, folder: Path) -> str:
    """Device, number format and attention or back end, as the provenance of an image has them."""
    from gen.model.device import pick_attention, pick_device, pick_dtype
    from gen.model.sampling.conversion import convert, pick_precision
    from gen.model.sampling.pipeline import pick_backend

    threads = f", {config.threads} threads"
    if pick_backend(folder, config.backend, device=config.device, dtype=config.dtype) == "openvino":
        precision = pick_precision(config.dtype)  # bfloat16 is tried, and the model converted for that
        return f"cpu {precision if precision == 'float32' else convert(folder).safe_precision(precision)} openvino"
    place = pick_device(config.device)
    number = pick_dtype(config.dtype, place)
    attention = pick_attention("auto", place, number)
    return f"{place.type} {str(number).removeprefix('torch.')} {attention}{threads if place.type == 'cpu' else ''}"


def weights_may_learn(config: DatasetConfig) -> dict[str, bool]:
    """By source, whether its licence lets weights learn from its images; what is not known to may not."""
    of_model = (read_capabilities(_folder(config)) or {}).get("weights_may_learn") is True
    of_bodies = not config.projections.cts or config.projections.weights_may_learn
    painted = {ANATOMY: of_model and of_bodies} if config.projections.strength else {}
    return {MODEL: of_model, DRR: of_bodies, **painted}


def prompt_warnings(config: DatasetConfig, prompts: Collection[str]) -> list[str]:
    """What a user should know of ``prompts`` for the model, one line each; nothing twice.

    BadInput where the model's tokenizer has no token for a word of them.
    """
    folder = _folder(config)
    count, limit = token_counter(folder / "tokenizer")
    nothing = count("")
    words = sorted({word.strip(".,") for prompt in prompts for word in prompt.split()})
    if unread := [word for word in words if word and count(word) <= nothing]:
        raise BadInput(f"{folder}: its tokenizer has no token for {', '.join(unread[:5])}", hint="use another model")
    capabilities = read_capabilities(folder)
    style = longest_style(style_of(capabilities))
    lines = [token_budget_warning(with_style(prompt, style), count, limit) for prompt in dict.fromkeys(prompts)]
    if capabilities is None or not capabilities.get("canonical_language"):
        lines.append(f"{folder.resolve().name} does not say that it learnt prompts in these words")
    trained = _trained_at(folder)
    if config.size not in (None, trained) and not _projections_only(config):
        lines.append(f"the model was trained at {trained} pixels; at {config.size} its images are worse")
    return list(dict.fromkeys(filter(None, lines)))


def _folder(config: DatasetConfig) -> Path:
    return bundled_model() if config.model is None else Path(config.model)


def _projections_only(config: DatasetConfig) -> bool:
    """Whether the model is left with the cells that no projection can fill, and so perhaps with none."""
    return config.projections.use == "share" and config.projections.share >= 1


def _twins(config: DatasetConfig) -> dict[str, Twin]:
    """The functions of the config's twins by name; those that projections have of themselves may do without one."""
    names, found = config.twins, entry_points(group=TWINS)
    require_twin_names(names)
    if len(set(names)) < len(names):
        raise BadInput(f"twins: {', '.join(names)} names one twice", hint="name each once")
    functions: dict[str, Twin] = {}
    for name in names:
        if name in found.names:
            functions[name] = found[name].load()
            continue
        own = name in ("soft", "bone") or (name == "inserted" and config.projections.strength > 0)
        if own and _projections_only(config):
            continue
        listed = ", ".join(sorted(found.names)) or "none"
        raise BadInput(
            f"twins: nothing installed makes {name!r} of an image" + (" of the model" if own else ""),
            hint=f"installed: {listed}; projections have soft and bone, where projections.share is 1",
        )
    return functions


def _versions(names: Sequence[str]) -> str:
    versions = {"python": platform.python_version()}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def size_of(config: DatasetConfig) -> int:
    """Pixels a side of the images; of a model that is silent on it until it is loaded, what is usual."""
    return config.size or _trained_at(_folder(config)) or 512


def _trained_at(folder: Path) -> int | None:
    """Pixels a side that the model was trained at; None where its configs leave that to be known by loading it."""
    unet, vae = (read_json(folder / part / "config.json") for part in ("unet", "vae"))
    with suppress(KeyError):
        return int(unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1))
    return None
