"""Sampling without torch: text encoder, U-Net and decoder by OpenVINO on a CPU, noise and solver in numpy."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput
from gen.core.files import read_json
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.core.threads import use_threads
from gen.language.tokens import token_encoder
from gen.model.capabilities import read_capabilities
from gen.model.sampling.conversion import DECODER, PRECISIONS, TEXT, UNET, Converted, convert, infer, pick_precision
from gen.model.sampling.settings import Configs, Settings
from gen.model.sampling.solver import Solver, read_solver, tabulate, why_no_table, write_solver
from gen.model.scheduler import CONFIG

if TYPE_CHECKING:
    from gen.core.radiograph import Radiograph

_INSTEAD = "use --backend torch"
_DTYPES = ("auto", *PRECISIONS)


def why_not(folder: Path, *, device: str, dtype: str, attention: str) -> str | None:
    """The reason why OpenVINO does not run the model of ``folder`` as asked; None where it does. Imports no torch."""
    if device not in ("auto", "cpu"):
        return f"it runs on the CPU, and the device is {device}"
    if device == "auto" and (gpu := _faster_device()):
        return f"there is {gpu}"
    if attention != "auto":
        return f"attention {attention} is torch's"
    if dtype not in _DTYPES:
        return f"dtype {dtype} is not supported"
    if importlib.util.find_spec("openvino") is None:
        return "it is not installed"
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        return f"{folder / 'tokenizer'} holds no tokenizer.json"
    config = folder / "scheduler" / CONFIG
    return why_no_table(read_json(config)) if config.is_file() else None  # a folder that is not whole is named later


def load_openvino(
    folder: Path, *, dtype: str = "auto", log: Callable[[str], object] = lambda text: None
) -> OpenvinoPipeline:
    """Load a stock folder for OpenVINO, converted the first time, which takes some seconds and which ``log`` is told.

    Raises BadInput as `load_torch` does; GenError for a model that comes out of the conversion another.
    """
    converted = convert(folder, log)
    unet, vae = (read_json(folder / part / "config.json") for part in ("unet", "vae"))
    return OpenvinoPipeline(
        folder=folder,
        converted=converted,
        configs=Configs(unet, vae, read_json(folder / "scheduler" / CONFIG)),
        encode=token_encoder(folder / "tokenizer"),
        dtype=converted.safe_precision(pick_precision(dtype), log),
        fingerprint=converted.fingerprint,
        capabilities=read_capabilities(folder),
        name=folder.resolve().name,
        rows=use_threads(),
    )


@dataclass(frozen=True)
class OpenvinoPipeline:
    """A model that OpenVINO runs: the U-Net in ``dtype``, text encoder and decoder in float32.

    ``rows`` images are made at a time, each alone on a thread of its own, so that none depends on their number.
    """

    folder: Path
    converted: Converted
    configs: Configs
    encode: Callable[[str], list[int]]
    dtype: str
    fingerprint: str
    capabilities: Mapping[str, Any] | None
    name: str
    rows: int
    compiled: dict[Any, Any] = field(default_factory=dict, repr=False)  # by part and shape, filled as they are needed

    @property
    def sampler(self) -> str:
        return str(self.configs.scheduler["_class_name"])

    @property
    def knows_sigmas(self) -> bool:
        return not self.sampler.startswith("EDM")

    @property
    def where(self) -> str:
        return f"device cpu ({self.rows} threads), {self.dtype}, OpenVINO"

    @property
    def network(self) -> str:
        return f"cpu {self.dtype} openvino"

    @property
    def software(self) -> str:
        return f"openvino {self.converted.version}"

    def sigma_at(self, how: Settings, strength: float) -> float:
        sigmas = self._solver(how.steps).sigmas
        return float(sigmas[(how.steps - round(how.steps * strength)) * len(sigmas) // how.steps])

    def run(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        init: Sequence[Radiograph],
        held: Sequence[np.ndarray],
        how: Settings,
        on_step: Callable[[], object],
    ) -> list[np.ndarray | Exception]:
        """As `gen.model.sampling.pipeline.Pipeline.run`; BadInput with ``init``, which only torch can encode.

        ``on_step`` is called from the thread that makes the first image, and no more where that image fails.
        """
        if init:
            raise BadInput("an image to start from needs the torch back end", hint=_INSTEAD)
        solver = self._solver(how.steps)
        side = (how.size or self.configs.size) // self.configs.factor
        shape = (int(self.configs.unet["in_channels"]), side, side)
        guided = [how.guides(float(sigma)) for sigma in solver.sigmas]
        wanted = list(
            dict.fromkeys(zip(prompts, seeds, strict=True))
        )  # a short batch was filled up with its last image
        nothing = self._states(how.negative)
        states = {prompt: self._states(prompt) for prompt, _ in wanted}
        # Compiled before the threads start, or each of them would do it.
        unet = {g: self._compile(UNET, (1 + g, *shape), (1 + g, *nothing.shape[1:])) for g in sorted(set(guided))}
        decoder = self._compile(DECODER, (1, *shape))

        def image(item: tuple[str, int]) -> np.ndarray:
            prompt, seed = item
            request = {g: network.create_infer_request() for g, network in unet.items()}
            text = {False: states[prompt], True: np.concatenate([nothing, states[prompt]])}

            def predict(i: int, latents: np.ndarray) -> np.ndarray:
                g = guided[i]
                given = np.concatenate([latents, latents]) if g else latents
                out = infer(request[g], [given, np.array(solver.timesteps[i], np.float32), text[g]])
                if item == wanted[0]:
                    on_step()
                return out[:1] + how.guidance * (out[1:] - out[:1]) if g else out

            def fresh(i: int) -> np.ndarray:
                return standard_normal(shape, derived_seed(seed, f"step {i}"))[None]

            latents = solver.run(predict, standard_normal(shape, seed)[None], fresh)
            scaled = latents / np.float32(self.configs.vae.get("scaling_factor", 1.0))
            return infer(decoder.create_infer_request(), [scaled])

        def attempt(item: tuple[str, int]) -> np.ndarray | Exception:
            try:
                [pixels] = image(item)
            except Exception as error:  # OpenVINO's are RuntimeErrors without a class of their own
                return error
            pixels = np.where(np.isinf(pixels), np.nan, np.clip(pixels, -1, 1))  # what overflowed is no white
            return (pixels.mean(0) + 1) / 2

        with ThreadPoolExecutor(self.rows) as pool:
            made = dict(zip(wanted, pool.map(attempt, wanted), strict=True))
        return [made[item] for item in zip(prompts, seeds, strict=True)]

    def _states(self, prompt: str) -> np.ndarray:
        ids = np.array([self.encode(prompt)], np.int64)
        return infer(self._compile(TEXT, ids.shape).create_infer_request(), [ids])

    def _compile(self, part: str, *shapes: tuple[int, ...]) -> Any:
        """The network ``part`` for inputs of ``shapes``: a fixed shape is a third faster than an open one."""
        if (part, shapes) not in self.compiled:
            precision = self.dtype if part == UNET else "float32"
            self.compiled[part, shapes] = self.converted.compile(part, shapes, precision, self.rows)
        return self.compiled[part, shapes]

    def _solver(self, steps: int) -> Solver:
        key = ("solver", steps)
        if key not in self.compiled:
            path = self.converted.cache / f".solver-{steps}.npz"
            if not path.is_file():
                from gen.model.sampling.torch_backend import load_scheduler

                write_solver(path, tabulate(load_scheduler(self.folder / "scheduler"), steps))
            self.compiled[key] = read_solver(path)
        return self.compiled[key]


def _faster_device() -> str | None:
    """What torch would rather run on, found without importing it; None on a machine with a CPU alone."""
    if Path("/proc/driver/nvidia/version").is_file():
        return "an NVIDIA GPU"
    if Path("/dev/kfd").exists():
        return "an AMD GPU"
    return "an Apple GPU" if (sys.platform, platform.machine()) == ("darwin", "arm64") else None
