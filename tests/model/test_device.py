"""Devices, formats and attention: what "auto" may promise on any machine, and how a wish that cannot be met ends."""

from __future__ import annotations

import pytest
import torch

from gen.core.errors import BadInput, EnvironmentLacks
from gen.model.device import (
    cpu_multiplies_bfloat16,
    describe_device,
    pick_attention,
    pick_device,
    pick_dtype,
    set_attention,
    why_not_xformers,
)

CPU = torch.device("cpu")


def test_auto_prefers_cuda_then_mps_then_cpu() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == pick_device().type == best


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:63", "mps", "cpu"])
def test_a_named_device_is_that_device_or_an_error_that_names_it(name: str) -> None:
    try:
        assert pick_device(name) == torch.device(name)
    except EnvironmentLacks as error:
        assert repr(name) in str(error)
        assert name != "cpu"


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "", " cpu"])
def test_an_unknown_device_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="unknown device"):
        pick_device(name)


@pytest.mark.parametrize("training", [False, True])
def test_auto_computes_finite_numbers_on_the_chosen_device(training: bool) -> None:
    device = pick_device("auto")
    dtype = pick_dtype("auto", device, training=training)
    product = torch.ones(8, 8, device=device, dtype=dtype) @ torch.ones(8, 8, device=device, dtype=dtype)
    assert torch.equal(product.float().cpu(), torch.full((8, 8), 8.0))


@pytest.mark.parametrize("training", [False, True])
def test_a_cpu_computes_in_bfloat16_exactly_where_it_multiplies_it(training: bool) -> None:
    expected = torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    assert pick_dtype("auto", CPU, training=training) == expected


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_named_format_is_taken_at_its_word(name: str) -> None:
    assert pick_dtype(name, CPU) == getattr(torch, name)


def test_unknown_words_are_bad_input() -> None:
    with pytest.raises(BadInput, match="unknown dtype 'half'"):
        pick_dtype("half", CPU)
    with pytest.raises(BadInput, match="unknown attention 'flash'"):
        pick_attention("flash", CPU, torch.float32)


def test_auto_attention_is_xformers_exactly_where_its_kernel_runs() -> None:
    device = pick_device("auto")
    dtype = pick_dtype("auto", device)
    runs = why_not_xformers(device, dtype) is None
    assert pick_attention("auto", device, dtype) == ("xformers" if runs else "sdpa")


def test_xformers_asked_for_on_a_cpu_is_an_error_with_the_reason() -> None:
    with pytest.raises(EnvironmentLacks, match="the device is cpu"):
        pick_attention("xformers", CPU, torch.float32)


def test_setting_the_attention_keeps_what_the_model_computes() -> None:
    from diffusers.models.attention_processor import AttnProcessor
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=2,
    ).eval()
    latents, states = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 16)
    unet.set_attn_processor(AttnProcessor())  # the slow, written-out softmax(QK)V
    with torch.no_grad():
        written_out = unet(latents, 10, states).sample
        set_attention(unet, "sdpa")
        fused = unet(latents, 10, states).sample
    assert {type(processor).__name__ for processor in unet.attn_processors.values()} == {"AttnProcessor2_0"}
    torch.testing.assert_close(fused, written_out, atol=1e-5, rtol=1e-4)


def test_a_model_without_attention_processors_is_left_alone() -> None:
    set_attention(torch.nn.Linear(2, 2), "sdpa")


def test_the_description_is_one_line_that_names_all_three() -> None:
    line = describe_device(CPU, torch.float32, "sdpa")
    assert "\n" not in line
    assert all(word in line for word in ("cpu", "float32", "sdpa"))
