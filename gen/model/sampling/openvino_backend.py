"""Sampling without torch: text encoder, U-Net and decoder by OpenVINO on a CPU, noise and solver in numpy.

A model is converted once, by torch, into a cache folder named after its own hash and OpenVINO's version. What was
converted is compared with torch before the folder takes that name, so that nothing unproven is ever trusted.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput, GenError
from gen.core.files import read_json, require_free_space, staged_folder, verify_folder
from gen.core.locks import lock
from gen.core.noise import standard_normal
from gen.core.run import derived_seed
from gen.core.threads import use_threads
from gen.language.tokens import token_encoder
from gen.model.capabilities import read_capabilities
from gen.model.device import cpu_multiplies_bfloat16
from gen.model.folder import WEIGHTED, cache_folder, check_model_folder, model_hash
from gen.model.sampling.settings import Configs, Settings
from gen.model.sampling.solver import Solver, read_solver, tabulate, why_no_table, write_solver
from gen.model.scheduler import CONFIG

if TYPE_CHECKING:
    from gen.core.radiograph import Radiograph
    from gen.model.sampling.torch_backend import TorchPipeline

TEXT, UNET, DECODER = "text_encoder.xml", "unet.xml", "decoder.xml"
TOLERANCE = 2e-3  # of a converted part in float32: error over the size of what it puts out, both root mean square
_INSTEAD = "use --backend torch"
_FORM = 2  # of a cache: raised where another version of this module converts otherwise
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def why_not(folder: Path, *, device: str, dtype: str, attention: str) -> str | None:
    """The reason why OpenVINO does not run the model of ``folder`` as asked; None where it does. Imports no torch."""
    if device not in ("auto", "cpu"):
        return f"it runs on the CPU, and the device is {device}"
    if device == "auto" and (gpu := _faster_device()):
        return f"there is {gpu}"
    if attention != "auto":
        return f"attention {attention} is torch's"
    if dtype not in ("auto", *_PRECISIONS):
        return f"dtype {dtype} is not supported"
    if importlib.util.find_spec("openvino") is None:
        return "it is not installed"
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        return f"{folder / 'tokenizer'} holds no tokenizer.json"
    config = folder / "scheduler" / CONFIG
    return why_no_table(read_json(config)) if config.is_file() else None  # a folder that is not whole is named later


def pick_precision(dtype: str) -> str:
    """The number format of the U-Net that ``dtype``, perhaps "auto", means on this CPU."""
    return dtype if dtype != "auto" else "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def load_openvino(
    folder: Path, *, dtype: str = "auto", log: Callable[[str], object] = lambda text: None
) -> OpenvinoPipeline:
    """Load a stock folder for OpenVINO, converted the first time, which takes some seconds and which ``log`` is told.

    Raises BadInput as `load_torch` does; GenError for a model that comes out of the conversion another.
    """
    openvino = _openvino()
    check_model_folder(folder)
    fingerprint = model_hash(folder)
    version = openvino.__version__.partition("-")[0]
    cache = cache_folder() / "openvino" / f"{fingerprint}-{version}-{_FORM}"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (cache.parent / ".lock").open("w") as stream:  # several processes may want the same model
        lock(stream)
        if verify_folder(cache):
            shutil.rmtree(cache, ignore_errors=True)
            _convert(folder, cache, log)
    core = openvino.Core()
    core.set_property({"CACHE_DIR": str(cache / ".compiled")})  # hidden: not among what the digests vouch for
    unet, vae = (read_json(folder / part / "config.json") for part in ("unet", "vae"))
    return OpenvinoPipeline(
        folder=folder,
        cache=cache,
        core=core,
        configs=Configs(unet, vae, read_json(folder / "scheduler" / CONFIG)),
        encode=token_encoder(folder / "tokenizer"),
        dtype=pick_precision(dtype),
        version=version,
        fingerprint=fingerprint,
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
    cache: Path
    core: Any
    configs: Configs
    encode: Callable[[str], list[int]]
    dtype: str
    version: str
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
        return f"openvino {self.version}"

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
    ) -> np.ndarray:
        """As `gen.model.sampling.pipeline.Pipeline.run`; BadInput with ``init``, which only torch can encode."""
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
                out = _infer(request[g], [given, np.array(solver.timesteps[i], np.float32), text[g]])
                if item == wanted[0]:
                    on_step()
                return out[:1] + how.guidance * (out[1:] - out[:1]) if g else out

            def fresh(i: int) -> np.ndarray:
                return standard_normal(shape, derived_seed(seed, f"step {i}"))[None]

            latents = solver.run(predict, standard_normal(shape, seed)[None], fresh)
            scaled = latents / np.float32(self.configs.vae.get("scaling_factor", 1.0))
            return _infer(decoder.create_infer_request(), [scaled])

        with ThreadPoolExecutor(self.rows) as pool:
            made = dict(zip(wanted, pool.map(image, wanted), strict=True))
        pixels = np.concatenate([made[item] for item in zip(prompts, seeds, strict=True)])
        pixels = np.where(np.isinf(pixels), np.nan, np.clip(pixels, -1, 1))  # what overflowed is no white
        return (pixels.mean(1) + 1) / 2

    def _states(self, prompt: str) -> np.ndarray:
        ids = np.array([self.encode(prompt)], np.int64)
        return _infer(self._compile(TEXT, ids.shape).create_infer_request(), [ids])

    def _compile(self, part: str, *shapes: tuple[int, ...]) -> Any:
        """The network ``part`` for inputs of ``shapes``: a fixed shape is a third faster than an open one."""
        if (part, shapes) not in self.compiled:
            model = self.core.read_model(self.cache / part)
            wanted = [shapes[0], (), shapes[1]] if part == UNET else list(shapes)  # the timestep is a number
            model.reshape({port: list(shape) for port, shape in zip(model.inputs, wanted, strict=True)})
            precision = _PRECISIONS[self.dtype if part == UNET else "float32"]
            # A stream is one thread: sums that two share have other last bits, and wait where a core is busy.
            streams = {"NUM_STREAMS": self.rows, "INFERENCE_NUM_THREADS": self.rows}
            self.compiled[part, shapes] = self.core.compile_model(
                model, "CPU", {"INFERENCE_PRECISION_HINT": precision, **streams}
            )
        return self.compiled[part, shapes]

    def _solver(self, steps: int) -> Solver:
        key = ("solver", steps)
        if key not in self.compiled:
            path = self.cache / f".solver-{steps}.npz"
            if not path.is_file():
                from gen.model.sampling.torch_backend import load_scheduler

                write_solver(path, tabulate(load_scheduler(self.folder / "scheduler"), steps))
            self.compiled[key] = read_solver(path)
        return self.compiled[key]


def _infer(request: Any, inputs: list[np.ndarray]) -> np.ndarray:
    """The one output of ``request``, in memory of its own: the request's is used again, or freed with it."""
    return np.array(request.infer(inputs)[0])


def _openvino() -> Any:
    """The module openvino without its telemetry, which reports every import to its makers and asks nobody.

    It has a stub for where that package is missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python documents for this
    import openvino

    return openvino


def _convert(folder: Path, cache: Path, log: Callable[[str], object]) -> None:
    """Write the three networks of ``folder`` to ``cache`` for OpenVINO, once they agree with torch's.

    The encoder of the tokenizer is compared as well. Raises GenError, naming the part, for one that does not agree.
    """
    from gen.model.parts import quiet
    from gen.model.sampling.torch_backend import load_torch

    stored = sum(path.stat().st_size for part in WEIGHTED for path in (folder / part).glob("*.safetensors"))
    require_free_space(cache.parent, 3 * stored, "converting the model for OpenVINO")
    log(f"converting the model for OpenVINO, once; it is kept in {cache}")
    started = time.perf_counter()
    parts = load_torch(folder, device="cpu", dtype="float32", attention="sdpa")
    _compare_tokens(parts.tokenizer, token_encoder(folder / "tokenizer"), folder / "tokenizer")
    openvino = _openvino()
    core = openvino.Core()
    with staged_folder(cache) as stage, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what it takes for fixed is compared below
        for name, network, inputs in _networks(parts):
            converted = openvino.convert_model(network, example_input=inputs)
            openvino.save_model(converted, stage / name, compress_to_fp16=_is_half(network))
            model = core.compile_model(stage / name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            found, wanted = model([each.numpy() for each in inputs])[0], network(*inputs).numpy()
            error = float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))
            if not error <= TOLERANCE:
                raise GenError(
                    f"{name} by OpenVINO differs from torch's by {error:.1g} (at most {TOLERANCE:g})",
                    hint=_INSTEAD,
                )
    log(f"converted in {time.perf_counter() - started:.0f} s")


def _networks(parts: TorchPipeline) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The networks of a loaded model as functions of tensors, each with inputs to trace and to compare it with."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self, part: torch.nn.Module, call: Callable[..., Any]) -> None:
            super().__init__()
            self.part, self.call = part, call

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.call(self.part, *inputs)

    generator = torch.Generator().manual_seed(0)
    side, length = int(parts.unet.config.sample_size), parts.tokenizer.model_max_length
    latents = torch.randn((2, parts.unet.config.in_channels, side, side), generator=generator)
    ids = torch.randint(parts.text_encoder.config.vocab_size, (1, length), generator=generator)
    with torch.inference_mode():
        states = parts.text_encoder(ids)[0].expand(2, -1, -1)
    # A float, as the embedding computes with: some schedulers stop between two timesteps.
    middle = torch.tensor(parts.scheduler.config.num_train_timesteps / 2)
    return [
        (TEXT, Network(parts.text_encoder, lambda part, ids: part(ids)[0]), (ids,)),
        (UNET, Network(parts.unet, lambda part, *inputs: part(*inputs).sample), (latents, middle, states)),
        (DECODER, Network(parts.vae, lambda part, latents: part.decode(latents).sample), (latents[:1],)),
    ]


def _is_half(network: Any) -> bool:
    """Whether all weights survive half precision, as those of a model that was saved in it do."""
    return all(bool((weight == weight.half().float()).all()) for weight in network.parameters())


def _compare_tokens(tokenizer: Any, encode: Callable[[str], list[int]], part: Path) -> None:
    """Raise GenError where ``encode`` numbers a text otherwise than transformers' ``tokenizer`` does."""
    options = {"padding": "max_length", "truncation": True, "max_length": tokenizer.model_max_length}
    for text in ("", "63 year old female. PA view. Moderate right Pleural Effusion.", "Naïve, 5 cm; " * 40):
        if encode(text) != tokenizer(text, **options).input_ids:
            raise GenError(f"{part}: tokenizers reads {text[:40]!r} otherwise than transformers does", hint=_INSTEAD)


def _faster_device() -> str | None:
    """What torch would rather run on, found without importing it; None on a machine with a CPU alone."""
    if Path("/proc/driver/nvidia/version").is_file():
        return "an NVIDIA GPU"
    if Path("/dev/kfd").exists():
        return "an AMD GPU"
    return "an Apple GPU" if (sys.platform, platform.machine()) == ("darwin", "arm64") else None
