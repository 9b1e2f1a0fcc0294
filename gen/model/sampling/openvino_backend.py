"""Sampling without torch: text encoder, U-Net and autoencoder by OpenVINO on a CPU, noise and solver in numpy."""

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

from gen.core.files import read_json
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.core.threads import use_threads
from gen.language.tokens import token_encoder
from gen.model.capabilities import read_capabilities
from gen.model.sampling.conversion import (
    DECODER,
    ENCODER,
    PRECISIONS,
    TEXT,
    UNET,
    Converted,
    convert,
    convert_encoder,
    infer,
    pick_precision,
)
from gen.model.sampling.settings import Configs, Settings, decoder_noise
from gen.model.sampling.solver import Solver, Start, read_solver, tabulate, why_no_table, write_solver
from gen.model.sampling.start import cells_of, squares_of
from gen.model.scheduler import CONFIG

if TYPE_CHECKING:
    from gen.core.radiograph import Radiograph

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
        log=log,
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
    log: Callable[[str], object] = field(default=lambda text: None, repr=False)  # told of a later conversion
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

    def sigma_from(self, how: Settings) -> float:
        return float(self._solver(how.steps, Start(how.skipped)).sigmas[0])

    def run(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        init: Sequence[Radiograph],
        held: Sequence[np.ndarray],
        how: Settings,
        on_step: Callable[[], object],
    ) -> list[np.ndarray | Exception]:
        """As `gen.model.sampling.pipeline.Pipeline.run`.

        ``on_step`` is called from the thread that makes the first image, and no more where that image fails.
        """
        solver = self._solver(how.steps, Start(how.skipped) if init else None)
        side = (how.size or self.configs.size) // self.configs.factor
        shape = (int(self.configs.unet["in_channels"]), side, side)
        guided = [how.guides(float(sigma)) for sigma in solver.sigmas]
        # A short batch was filled up with its last image, which is made once.
        keys = list(zip(prompts, seeds, *(map(id, each) for each in (init, held) if each), strict=True))
        wanted = [keys.index(key) for key in dict.fromkeys(keys)]
        nothing = self._states(how.negative)
        states = {prompt: self._states(prompt) for prompt in dict.fromkeys(prompts)}
        # Compiled before the threads start, or each of them would do it.
        unet = {g: self._compile(UNET, (1 + g, *shape), (1 + g, *nothing.shape[1:])) for g in sorted(set(guided))}
        decoder = self._compile(DECODER, (1, *shape))
        begun = self._encode(squares_of(init, side * self.configs.factor)) if init else [None] * len(prompts)
        holds = self._solver(how.steps, Start(how.skipped, how.holding)) if held else solver
        kept = [(holds, cells) for cells in cells_of(held, side)] if held else [None] * len(prompts)

        def image(row: int) -> np.ndarray:
            seed = seeds[row]
            request = {g: network.create_infer_request() for g, network in unet.items()}
            text = {False: states[prompts[row]], True: np.concatenate([nothing, states[prompts[row]]])}

            def predict(i: int, latents: np.ndarray) -> np.ndarray:
                g = guided[i]
                given = np.concatenate([latents, latents]) if g else latents
                out = infer(request[g], [given, np.array(solver.timesteps[i], np.float32), text[g]])
                if row == wanted[0]:
                    on_step()
                return out[:1] + how.guidance * (out[1:] - out[:1]) if g else out

            def fresh(i: int) -> np.ndarray:
                return standard_normal(shape, derived_seed(seed, f"step {i}"))[None]

            noise = standard_normal(shape, seed)[None]
            latents = solver.run(predict, noise, fresh, image=begun[row], held=kept[row])
            latents = latents + decoder_noise(self.capabilities, shape, seed)
            return infer(decoder.create_infer_request(), [latents / self._scaling])

        def attempt(row: int) -> np.ndarray | Exception:
            try:
                [pixels] = image(row)
            except Exception as error:  # OpenVINO's are RuntimeErrors without a class of their own
                return error
            pixels = np.where(np.isinf(pixels), np.nan, np.clip(pixels, -1, 1))  # what overflowed is no white
            return (pixels.mean(0) + 1) / 2

        with ThreadPoolExecutor(self.rows) as pool:
            made = dict(zip(wanted, pool.map(attempt, wanted), strict=True))
        return [made[keys.index(key)] for key in keys]

    def _states(self, prompt: str) -> np.ndarray:
        ids = np.array([self.encode(prompt)], np.int64)
        return infer(self._compile(TEXT, ids.shape).create_infer_request(), [ids])

    def _compile(self, part: str, *shapes: tuple[int, ...]) -> Any:
        """The network ``part`` for inputs of ``shapes``: a fixed shape is a third faster than an open one."""
        if (part, shapes) not in self.compiled:
            precision = self.dtype if part == UNET else "float32"
            self.compiled[part, shapes] = self.converted.compile(part, shapes, precision, self.rows)
        return self.compiled[part, shapes]

    @property
    def _scaling(self) -> np.float32:
        return np.float32(self.configs.vae.get("scaling_factor", 1.0))

    def _encode(self, squares: np.ndarray) -> list[np.ndarray]:
        """Latents (1, C, h, w) of each of ``squares``, float32 (N, 1, side, side) in [-1, 1].

        The encoder is converted the first time that a model is asked for this.
        """
        if ENCODER not in self.compiled:
            convert_encoder(self.folder, self.converted, self.log)
            self.compiled[ENCODER] = True
        inputs = np.repeat(squares, int(self.configs.vae["in_channels"]), axis=1)
        request = self._compile(ENCODER, (1, *inputs.shape[1:])).create_infer_request()
        return [infer(request, [each[None]]) * self._scaling for each in inputs]

    def _solver(self, steps: int, start: Start | None = None) -> Solver:
        key = ("solver", steps, start)
        if key not in self.compiled:
            begun = f"-{start.skipped}-{start.held}" if start else ""
            path = self.converted.cache / f".solver-{steps}{begun}.npz"
            if not path.is_file():
                from gen.model.sampling.torch_backend import load_scheduler

                write_solver(path, tabulate(load_scheduler(self.folder / "scheduler"), steps, start))
            self.compiled[key] = read_solver(path)
        return self.compiled[key]


def _faster_device() -> str | None:
    """What torch would rather run on, found without importing it; None on a machine with a CPU alone."""
    if Path("/proc/driver/nvidia/version").is_file():
        return "an NVIDIA GPU"
    if Path("/dev/kfd").exists():
        return "an AMD GPU"
    return "an Apple GPU" if (sys.platform, platform.machine()) == ("darwin", "arm64") else None
