"""A model as OpenVINO runs it: converted once, by torch, and proven before it is trusted.

It lies in a cache folder named after its own hash and OpenVINO's version, and the encoder of its autoencoder, which
only sampling from an image needs, in another beside that. What was converted is compared with torch before a folder
takes that name, and bfloat16 is tried on each kind of CPU before it is used there.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import GenError
from gen.core.files import atomic_file, read_json, require_free_space, staged_folder, verify_folder, write_json
from gen.core.locks import lock
from gen.language.tokens import token_encoder
from gen.model.device import cpu_multiplies_bfloat16
from gen.model.folder import WEIGHTED, cache_folder, check_model_folder, model_hash

if TYPE_CHECKING:
    from gen.model.sampling.torch_backend import TorchPipeline

TEXT, UNET, DECODER, ENCODER = "text_encoder.xml", "unet.xml", "decoder.xml", "encoder.xml"
TRIAL = "trial.npz"  # inputs of the U-Net, and what torch makes of them
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
# Of a part's output: its error over its size, both root mean square. bfloat16 has 8 bits; 30 dB below a prediction it
# is still less than what another step of a solver changes.
TOLERANCES = {"float32": 2e-3, "bfloat16": 3e-2}
LOADS = 2  # of a network on trial, the second from OpenVINO's own cache
_INSTEAD = "use --backend torch"
_FORM = 4  # of a cache: raised where another version of this module converts otherwise


@dataclass(frozen=True)
class Converted:
    """The networks of a model in the folder ``cache``, with OpenVINO's ``core`` and ``version``."""

    cache: Path
    core: Any
    version: str
    fingerprint: str  # hash of weights and configs

    def compile(self, part: str, shapes: Sequence[tuple[int, ...]], precision: str, threads: int) -> Any:
        """The network ``part`` for inputs of ``shapes`` (of the U-Net: latents and text), one request a thread."""
        cache = encoder_cache(self.cache) if part == ENCODER else self.cache
        model = self.core.read_model(cache / part)
        wanted = [shapes[0], (), shapes[1]] if part == UNET else list(shapes)  # the timestep is a number
        model.reshape({port: list(shape) for port, shape in zip(model.inputs, wanted, strict=True)})
        # A stream is one thread: sums that two share have other last bits, and wait where a core is busy.
        options: dict[str, Any] = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        # A folder for each precision: OpenVINO takes for bfloat16 what it compiled for float32, and reads it as NaN.
        # Hidden: not among what the digests vouch for.
        options |= {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "CACHE_DIR": str(cache / f".{precision}")}
        return self.core.compile_model(model, "CPU", options)

    def safe_precision(self, precision: str, log: Callable[[str], object] = lambda text: None) -> str:
        """``precision``, or float32 where bfloat16 fails its trial on this CPU; ``log`` is told.

        The trial is held once for each kind of CPU, and its outcome kept in the cache.
        """
        if precision == "float32":
            return precision
        cpu = str(self.core.get_property("CPU", "FULL_DEVICE_NAME"))
        outcome = self.cache / f".trials-{precision}-{hashlib.sha256(cpu.encode()).hexdigest()[:12]}.json"
        if not outcome.is_file():
            write_json(outcome, {"cpu": cpu, "fault": self._fault(precision)})
        if fault := read_json(outcome)["fault"]:
            log(f"the U-Net runs in float32: in {precision} on this CPU {fault}")
            return "float32"
        return precision

    def _fault(self, precision: str) -> str | None:
        """What is wrong with the U-Net in ``precision`` in the shapes that are run; None for nothing."""
        with np.load(self.cache / TRIAL) as stored:
            latents, timestep, states, wanted = (stored[name] for name in ("latents", "timestep", "states", "wanted"))
        for rows in (1, 2):  # without guidance and with it
            given = [latents[:rows], timestep, states[:rows]]
            found = []
            try:
                for _ in range(LOADS):
                    # One stream stands for any number: each is one thread, and what it computes does not follow it.
                    network = self.compile(UNET, (given[0].shape, given[2].shape), precision, threads=1)
                    request = network.create_infer_request()
                    found += [infer(request, given) for _ in range(2)]
            except RuntimeError as error:  # OpenVINO's own, of a number format that this CPU cannot do
                return f"it fails ({str(error).strip().splitlines()[-1]})"
            if fault := fault_of(found, wanted[:rows], TOLERANCES[precision]):
                return fault
        return None


def pick_precision(dtype: str) -> str:
    """The number format of the U-Net that ``dtype``, perhaps "auto", means on this CPU, before it is tried."""
    return dtype if dtype != "auto" else "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def convert(folder: Path, log: Callable[[str], object] = lambda text: None) -> Converted:
    """The model of ``folder`` from the cache, converted the first time, which takes some seconds; ``log`` is told.

    BadInput for a folder that is not whole; GenError for a model that comes out of the conversion another.
    """
    openvino = _openvino()
    check_model_folder(folder)
    fingerprint = model_hash(folder)
    version = openvino.__version__.partition("-")[0]
    cache = cache_folder() / "openvino" / f"{fingerprint}-{version}-{_FORM}"
    _have(folder, cache, (TEXT, UNET, DECODER), log)
    return Converted(cache, openvino.Core(), version, fingerprint)


def convert_encoder(folder: Path, converted: Converted, log: Callable[[str], object] = lambda text: None) -> None:
    """See that the encoder of the autoencoder of ``folder`` is in the cache of ``converted`` too; as `convert`."""
    _have(folder, encoder_cache(converted.cache), (ENCODER,), log)


def encoder_cache(cache: Path) -> Path:
    """Where the encoder of the autoencoder lies, for a model whose other networks lie in ``cache``."""
    return cache.with_name(f"{cache.name}-encoder")


def infer(request: Any, inputs: list[np.ndarray]) -> np.ndarray:
    """The one output of ``request``, in memory of its own: the request's is used again, or freed with it."""
    return np.array(request.infer(inputs)[0])


def fault_of(found: Sequence[np.ndarray], wanted: np.ndarray, tolerance: float) -> str | None:
    """What is wrong with outputs ``found`` of one network and one input, where torch has ``wanted``; None for nothing.

    They must be equal, whatever they are, and differ from torch's by ``tolerance`` of its size at most, both as root
    mean squares.
    """
    if any(not np.array_equal(found[0], other, equal_nan=True) for other in found[1:]):
        return "it makes of one input another output each time"
    error, size = (float(np.sqrt(np.square(values, dtype=np.float64).mean())) for values in (found[0] - wanted, wanted))
    if not error <= tolerance * size:
        return f"it differs from torch's by {error / size if size else np.inf:.1g} (at most {tolerance:g})"
    return None


def _openvino() -> Any:
    """The module openvino without its telemetry, which reports every import to its makers and asks nobody.

    It has a stub for where that package is missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python documents for this
    import openvino

    return openvino


def _have(folder: Path, cache: Path, names: Sequence[str], log: Callable[[str], object]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (cache.parent / ".lock").open("w") as stream:  # several processes may want the same model
        lock(stream)
        if verify_folder(cache):
            shutil.rmtree(cache, ignore_errors=True)
            _convert(folder, cache, names, log)


def _convert(folder: Path, cache: Path, names: Sequence[str], log: Callable[[str], object]) -> None:
    """Write the networks ``names`` of ``folder`` to ``cache`` for OpenVINO, once they agree with torch's.

    The encoder of the tokenizer is compared as well. Raises GenError, naming the part, for one that does not agree.
    """
    from gen.model.parts import quiet
    from gen.model.sampling.torch_backend import load_torch

    stored = sum(path.stat().st_size for part in WEIGHTED for path in (folder / part).glob("*.safetensors"))
    require_free_space(cache.parent, 3 * stored, "converting the model for OpenVINO")
    what = "the encoder of the model" if ENCODER in names else "the model"
    log(f"converting {what} for OpenVINO, once; it is kept in {cache}")
    started = time.perf_counter()
    parts = load_torch(folder, device="cpu", dtype="float32", attention="sdpa")
    _compare_tokens(parts.tokenizer, token_encoder(folder / "tokenizer"), folder / "tokenizer")
    openvino = _openvino()
    core = openvino.Core()
    with staged_folder(cache) as stage, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what it takes for fixed is compared below
        for name, (network, inputs) in _networks(parts).items():
            if name not in names:
                continue
            converted = openvino.convert_model(network, example_input=inputs)
            openvino.save_model(converted, stage / name, compress_to_fp16=_is_half(network))
            model = core.compile_model(stage / name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            given, wanted = [each.numpy() for each in inputs], network(*inputs).numpy()
            request = model.create_infer_request()
            if fault := fault_of([infer(request, given) for _ in range(2)], wanted, TOLERANCES["float32"]):
                raise GenError(f"{name} by OpenVINO: {fault}", hint=_INSTEAD)
            if name == UNET:
                with atomic_file(stage / TRIAL) as stream:
                    np.savez(stream, **dict(zip(("latents", "timestep", "states"), given, strict=True)), wanted=wanted)
    log(f"converted in {time.perf_counter() - started:.0f} s")


def _networks(parts: TorchPipeline) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The networks of a loaded model as functions of tensors, each with inputs to trace and to compare it with."""
    import torch

    from gen.model.sampling.torch_backend import encoded

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
    shape = (1, parts.vae.config.in_channels, parts.configs.size, parts.configs.size)
    pixels = 2 * torch.rand(shape, generator=generator) - 1
    return {
        TEXT: (Network(parts.text_encoder, lambda part, ids: part(ids)[0]), (ids,)),
        UNET: (Network(parts.unet, lambda part, *inputs: part(*inputs).sample), (latents, middle, states)),
        DECODER: (Network(parts.vae, lambda part, latents: part.decode(latents).sample), (latents[:1],)),
        ENCODER: (Network(parts.vae, encoded), (pixels,)),
    }


def _is_half(network: Any) -> bool:
    """Whether all weights survive half precision, as those of a model that was saved in it do."""
    return all(bool((weight == weight.half().float()).all()) for weight in network.parameters())


def _compare_tokens(tokenizer: Any, encode: Callable[[str], list[int]], part: Path) -> None:
    """Raise GenError where ``encode`` numbers a text otherwise than transformers' ``tokenizer`` does."""
    options = {"padding": "max_length", "truncation": True, "max_length": tokenizer.model_max_length}
    for text in ("", "63 year old female. PA view. Moderate right Pleural Effusion.", "Naïve, 5 cm; " * 40):
        if encode(text) != tokenizer(text, **options).input_ids:
            raise GenError(f"{part}: tokenizers reads {text[:40]!r} otherwise than transformers does", hint=_INSTEAD)
