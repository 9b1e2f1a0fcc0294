"""Which device, number format and attention a model runs with: what is fastest and safe there, tried where it must be.

torch is imported inside the functions, so that this module costs nothing to import.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gen.core.errors import BadInput, EnvironmentLacks
from gen.core.terms import require_choice

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")
ATTENTIONS = ("auto", "xformers", "sdpa", "eager")


def check_names(*, device: str = "auto", dtype: str = "auto", attention: str = "auto") -> None:
    """Raise BadInput for a word that is none of the choices, before torch is imported."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise BadInput(f"unknown device {device!r}", hint="use auto, cuda, cuda:N, mps or cpu")
    require_choice("dtype", dtype, DTYPES)
    require_choice("attention", attention, ATTENTIONS)


def pick_device(name: str = "auto") -> torch.device:
    """The device for ``name``: "auto" (CUDA, then MPS, then CPU), "cuda", "cuda:1", "mps" or "cpu".

    BadInput for another word; EnvironmentLacks, with the reason, for a device that is asked for and not there.
    """
    check_names(device=name)
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "no NVIDIA GPU or driver was found"
        raise EnvironmentLacks(f"device {name!r} is not available: {why}", hint="use --device auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentLacks(f"device {name!r} is not available: {torch.cuda.device_count()} CUDA device(s) found")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentLacks("device 'mps' is not available on this machine", hint="use --device auto or cpu")
    return device


def pick_dtype(name: str, device: torch.device, *, training: bool = False) -> torch.dtype:
    """The number format of the network on ``device``; "auto" is the fastest that is safe there.

    auto: on CUDA bfloat16, or without it float16 (float32 for training); on a CPU bfloat16 where the processor
    multiplies it in hardware (AMX or AVX-512 BF16), since elsewhere it is half as fast as float32; else float32.
    BadInput for an unknown name; EnvironmentLacks for bfloat16 on a GPU that cannot.
    """
    import torch

    require_choice("dtype", name, DTYPES)
    cuda_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bfloat16" and device.type == "cuda" and not cuda_bf16:
        raise EnvironmentLacks("dtype 'bfloat16' is not supported by this GPU", hint="use --dtype auto or float32")
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if cuda_bf16 else torch.float32 if training else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bfloat16() else torch.float32


@functools.cache
def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: ``amx_bf16`` or ``avx512_bf16``, which only Linux lists."""
    try:
        return re.search(r"\b(amx|avx512)_bf16\b", Path("/proc/cpuinfo").read_text()) is not None
    except OSError:
        return False


def pick_attention(name: str, device: torch.device, dtype: torch.dtype, *, training: bool = False) -> str:
    """The attention for ``name``: "xformers", "sdpa" (PyTorch's own), "eager" (plain matrix products) or "auto".

    auto: xformers where its kernel really runs, eager for training on a CPU (the backward pass of PyTorch's fused CPU
    kernel is up to three times slower), else sdpa.

    BadInput for an unknown name; EnvironmentLacks, with the reason, for xformers asked for where it does not run.
    """
    require_choice("attention", name, ATTENTIONS)
    if name in ("sdpa", "eager"):
        return name
    if name == "auto" and training and device.type == "cpu":
        return "eager"
    reason = why_not_xformers(device, dtype)
    if reason is None:
        return "xformers"
    if name == "xformers":
        raise EnvironmentLacks(f"xformers attention does not run here: {reason}", hint="use --attention auto or sdpa")
    return "sdpa"


@functools.cache
def why_not_xformers(device: torch.device, dtype: torch.dtype) -> str | None:
    """None if xformers' attention ran on a tiny tensor of this device and dtype, else the reason in one line.

    An installed xformers proves nothing: its kernels load only beside the one torch they were compiled for.
    """
    if device.type != "cuda":
        return f"its kernels need CUDA, and the device is {device.type}"
    try:
        import torch
        from xformers.ops import memory_efficient_attention

        query = torch.zeros(1, 8, 1, 32, device=device, dtype=dtype)  # (batch, tokens, heads, channels)
        memory_efficient_attention(query, query, query)
        torch.cuda.synchronize(device)
    except Exception as error:  # a missing package, an unloadable extension, an unsupported GPU: each has its own class
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def set_attention(model: torch.nn.Module, name: str) -> None:
    """Make a diffusers model attend by ``name`` ("xformers", "sdpa", "eager"); one without attention stays as it is."""
    from diffusers.models import attention_processor

    kinds = {"xformers": "XFormersAttnProcessor", "sdpa": "AttnProcessor2_0", "eager": "AttnProcessor"}
    if set_processor := getattr(model, "set_attn_processor", None):
        set_processor(getattr(attention_processor, kinds[name])())


def describe_device(device: torch.device, dtype: torch.dtype, attention: str) -> str:
    """One line for stderr, such as "device cuda:0 (NVIDIA H100), bfloat16, attention sdpa"."""
    import torch

    if device.type == "cuda":
        where = f"{device} ({torch.cuda.get_device_name(device)})"
    else:
        where = f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
    return f"device {where}, {str(dtype).removeprefix('torch.')}, attention {attention}"
