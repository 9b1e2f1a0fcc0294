"""Training the denoiser: `gen train denoiser CONFIG`, from scratch or from any folder that the pipeline loads.

One visible loop. Image n of the run (which film, which wording, which noise, which timestep) is a function of
(seed, n), so that the same command continues exactly where a killed run stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.config import number
from gen.core.errors import BadInput, GenError
from gen.core.manifest import read_manifest
from gen.core.run import Run, derived_seed
from gen.data.loader import Augmentation, pixel_cache
from gen.data.split import data_digest, order_of, split_rows
from gen.data.texts import Texts, texts_of
from gen.model.capabilities import capabilities_of
from gen.model.device import pick_attention, set_attention
from gen.model.folder import check_model_folder, decoder_noise_of, load_autoencoder
from gen.model.parts import load_tokenizer
from gen.model.sampling.torch_backend import load_scheduler
from gen.model.scheduler import check_scheduler
from gen.model.training.denoiser_network import (
    Denoiser,
    DenoiserShape,
    cut_captions,
    load_parts,
    new_denoiser,
    tokenize,
)
from gen.model.training.export import Fixtures, write_model_folder
from gen.model.training.latent_cache import (
    draw_latents,
    encode_grey,
    encoder_digest,
    held_out_distance,
    latent_cache,
    nearest_distance,
)
from gen.model.training.latents import shrink_factor, whiten_to
from gen.model.training.losses import NoiseDraw, draw_timestep, sigmas_of
from gen.model.training.optim import LossByNoise, Muon, split_weights
from gen.model.training.session import Session, TrainingConfig, refused_by_the_library
from gen.model.training.tokenizer import caption_corpus, train_tokenizer

if TYPE_CHECKING:
    import torch

# First and last layers and tables of embeddings: Muon is for what maps one hidden state to another.
NOT_FOR_MUON = ("conv_in", "conv_out", "embedding", "time_emb_proj")

PREVIEW_PROMPTS = (
    "45 year old male. PA view. No acute cardiopulmonary abnormality.",
    "45 year old female. PA view. No acute cardiopulmonary abnormality.",
    "60 year old male. AP view. Pleural effusion.",
    "60 year old male. AP view. No pleural effusion.",
    "60 year old female. AP view. Pneumonia.",
    "50 year old male. PA view. Cardiomegaly.",
    "Child. AP view. No acute cardiopulmonary abnormality.",
    "70 year old male. AP view. COVID-19.",
)


@dataclass(frozen=True)
class DenoiserConfig(TrainingConfig):
    """`gen train denoiser`: everything that decides the weights."""

    init: str | None = None  # a model folder to fine-tune; its autoencoder, tokenizer and scheduler are kept
    # A model folder, an autoencoder's folder or its run folder; None: that of init. It is read once: the run keeps it.
    autoencoder: str | None = None
    shape: DenoiserShape = field(default_factory=DenoiserShape)
    size: int = number(256, above=0)  # pixels
    images: int = number(1_200_000, above=0)
    learning_rate: float = number(8e-4, above=0)  # of AdamW
    muon_rate: float = number(0.01, least=0)  # of Muon, which moves matrices and kernels; 0: AdamW moves them too
    warmup: int = number(5_000, least=0)
    weight_decay: float = number(0.01, least=0)
    ema_long: float = number(0.9998, below=1)  # of a second average, kept beside the first
    noise: NoiseDraw = field(default_factory=NoiseDraw)
    caption_dropout: float = number(0.1, share=True)  # share of images without a caption, for guidance
    # Share of captions that leave out the age, likewise the sex, the view, the findings.
    fact_dropout: float = number(0.1, share=True)
    captions: str = "study"  # written from the labels; "prompt": the column of that name, as it stands
    augmentation: Augmentation = field(default_factory=Augmentation)
    variants: int = number(24, above=0)  # augmented copies of an image in the latent cache; the first is the image
    images_per_patient: int = number(4, least=0)  # in an epoch
    balanced: bool = True  # rare findings, and the rarer sex and view, are seen more often
    train_text_encoder: bool = True
    attention: str = "auto"  # xformers, sdpa, eager
    gradient_checkpointing: bool = False
    preview_every: int = number(10_000, least=0)  # images; 0: never
    preview_prompts: list[str] = field(default_factory=lambda: list(PREVIEW_PROMPTS))


def train_denoiser(config: DenoiserConfig, command: Sequence[str] = ()) -> Path:
    """Train, or resume, in the run folder ``config.out``; the model folder with the averaged weights.

    Raises BadInput for data, folders or a config that cannot be used, GenError for a loss that is not finite.
    """
    import torch
    from diffusers import DDPMScheduler

    # Whatever can be refused comes first: a run folder that exists keeps its config for good.
    if config.preview_every and not config.preview_prompts:
        raise BadInput("preview_prompts is empty", hint="name some, or set preview_every=0")
    rows = split_rows(read_manifest(config.data))
    dropouts = config.caption_dropout, config.fact_dropout
    captions = {split: texts_of(rows[split], config.captions, *dropouts) for split in ("train", "validation")}
    training = Session(config)
    attention = pick_attention(config.attention, training.device, training.precision, training=True)
    vae, (unet, text_encoder, tokenizer, scheduler) = _start(config, captions["train"], training.checkpoint)
    of_decoder = decoder_noise_of(_autoencoder(config, training.checkpoint))
    set_attention(unet, attention)

    data = data_digest({split: rows[split] for split in ("train", "validation")})
    with training.open(command, data=data) as run:
        # Images and their latents, which the main process computes once
        with training.accelerator.main_process_first():
            cache = run.folder / "cache"
            pixels = {split: pixel_cache(rows[split], config.size, cache) for split in ("train", "validation")}
            vae.to(training.device)
            if training.checkpoint is None and _latents_are_new(config, vae):
                whiten_to(vae, pixels["train"])
            latents = {
                "train": latent_cache(vae, pixels["train"], config.variants, config.augmentation, cache),
                "validation": latent_cache(vae, pixels["validation"], 1, config.augmentation, cache),
            }

        # What learns, and how
        bare = Denoiser(unet, text_encoder).to(training.device)
        process = DDPMScheduler.from_config(scheduler.config)
        sigmas = sigmas_of(process.alphas_cumprod).numpy()
        by_noise = LossByNoise(len(sigmas)).to(training.device)
        averages = {"denoiser": config.ema, "denoiser-long": config.ema_long}
        training.start(
            "denoiser", bare, _optimizers(config, bare), averages, {"loss_by_noise": by_noise}, attention=attention
        )
        model = training.accelerator.prepare(bare)
        order = order_of(rows["train"], config.seed, config.images_per_patient, config.balanced)
        studies, unread = captions["train"].shown()
        canonical = config.captions == "study"
        styles = captions["train"].styles() if canonical else ()
        prepared = all(row.extra.get("coverage") for row in rows["train"])
        shown = capabilities_of(studies, canonical, unread, styles, prepared)
        fixtures = Fixtures(vae, tokenizer, scheduler, shown | of_decoder)
        if config.init and config.shape != DenoiserShape():
            training.print(f"shape is ignored: the architecture is that of {config.init}")
        if config.captions == "prompt" and (cut := cut_captions(tokenizer, captions["train"])):
            training.print(cut)
        held_out = captions["validation"].fixed()
        measured = config.preview_every and training.accelerator.is_main_process
        strangers = held_out_distance(vae, latents["validation"], latents["train"], of_decoder) if measured else None

        while True:
            # Report and save, with the state "after so many images", so that resume and end are one path
            if training.due(config.validate_every, at_start=True):
                with training.averaged(), training.accelerator.autocast():
                    value = validation_loss(bare, process, latents["validation"], held_out, tokenizer)
                training.log("validation", loss=value)
                training.print(f"{training.images} images: validation loss {value:.4f}")
            if training.due(config.preview_every):
                try:
                    with training.averaged():
                        near = preview(run, training.images, bare, fixtures, config.preview_prompts, latents["train"])
                    training.log("preview", nearest={**near, "held_out": strangers})
                except GenError as refusal:  # a picture that came out flat is no reason to stop learning
                    training.print(f"{training.images} images: no preview: {refusal.message}")
            if training.due(config.checkpoint_every):
                training.save(lambda stage: write_model_folder(stage / "model", bare, fixtures))
            if training.finished():
                return training.folder / "model"

            # A batch: latents, captions and noise of the images whose turn it is
            chosen = [order.index(place) for place in training.places()]
            seeds = [derived_seed(config.seed, place) for place in training.places()]
            texts = [captions["train"].draw(i, seed) for i, seed in zip(chosen, seeds, strict=True)]
            tokens = tokenize(tokenizer, texts).to(training.device)
            clean, noise = (part.to(training.device) for part in draw_latents(latents["train"], chosen, seeds))
            drawn = [draw_timestep(sigmas, seed, config.noise) for seed in seeds]
            timesteps = torch.tensor(drawn, device=training.device)

            # Learn from it: all levels of noise weigh alike
            with training.accelerator.accumulate(model):
                error = denoising_error(model, process, clean, noise, timesteps, tokens)
                loss = (by_noise.weights(timesteps) * error).mean()
                by_noise.update(training.accelerator.reduce(by_noise.sums(timesteps, error), "sum"))
                files = [rows["train"][i].file for i in chosen]
                training.step(loss, files, loss=by_noise.get_buffer("mean").mean())


def _optimizers(config: DenoiserConfig, bare: Denoiser) -> dict[str, torch.optim.Optimizer]:
    """AdamW, and Muon beside it for the hidden matrices where the config has a rate for it."""
    import torch

    weights = [p for p in bare.parameters() if p.requires_grad]
    matrices, rest = split_weights(bare, NOT_FOR_MUON) if config.muon_rate else ([], weights)
    adam = torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    if not matrices:
        return {"denoiser": adam}
    return {"denoiser": adam, "muon": Muon(matrices, config.muon_rate, weight_decay=config.weight_decay)}


def _start(config: DenoiserConfig, texts: Texts, before: Path | None) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """The autoencoder, and U-Net, text encoder, tokenizer and scheduler to start from.

    All that does not learn is that of the checkpoint ``before``, where there is one: the weights know no other, what
    the config names may have changed since, and so may what this version of the code gives a new denoiser.
    """
    if config.init is None and config.autoencoder is None:
        raise BadInput("neither init nor autoencoder is given", hint="a new denoiser needs autoencoder=FOLDER")
    known = before / "model" if before else Path(config.init) if config.init is not None else None
    if known is not None:
        check_model_folder(known)
        check_scheduler(known / "scheduler", training=True)
    vae = load_autoencoder(_autoencoder(config, before))
    vae.requires_grad_(False).eval()
    side, rest = divmod(config.size, shrink_factor(vae))
    if config.init is not None:
        unet, text_encoder, tokenizer, scheduler = load_parts(known or Path(config.init))
    else:
        if known is None:
            corpus = caption_corpus(texts, config.seed)
            tokenizer = train_tokenizer(corpus, config.shape.vocabulary, config.shape.text_length)
        else:
            tokenizer = load_tokenizer(known / "tokenizer")
        with refused_by_the_library("the denoiser"):
            unet, text_encoder, scheduler = new_denoiser(config.shape, tokenizer, vae.config.latent_channels, side)
        if known is not None:
            scheduler = load_scheduler(known / "scheduler")
    halvings = 2 ** (len(unet.config.block_out_channels) - 1)
    if rest or side % halvings:
        raise BadInput(f"size is {config.size}", hint=f"use a multiple of {shrink_factor(vae) * halvings} pixels")
    if unet.config.in_channels != vae.config.latent_channels:
        raise BadInput(
            f"{config.init} takes {unet.config.in_channels} channels, and {config.autoencoder} makes "
            f"{vae.config.latent_channels}"
        )
    unet.register_to_config(sample_size=side)  # a folder tuned at another size samples at that
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    text_encoder.requires_grad_(config.train_text_encoder)
    return vae, (unet, text_encoder, tokenizer, scheduler)


def _autoencoder(config: DenoiserConfig, before: Path | None) -> Path:
    """The folder of the autoencoder: that of the checkpoint ``before``, where there is one."""
    return before / "model" if before else Path(config.autoencoder or config.init or "")


def _latents_are_new(config: DenoiserConfig, vae: Any) -> bool:
    """Whether the U-Net has to learn the latents of ``vae`` anyway, so that they may be whitened first.

    A U-Net of ``init`` knows those of its own encoder, also where ``autoencoder`` brings another decoder for it.
    """
    if config.init is None or config.autoencoder is None:
        return config.init is None
    return encoder_digest(vae) != encoder_digest(load_autoencoder(Path(config.init)))


def denoising_error(
    model: Any,
    process: Any,
    clean: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    tokens: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error (N,) of what ``model`` predicts of latents ``clean`` (N, C, h, w) under ``noise``.

    process: the scheduler that adds the noise, and says whether noise or velocity is predicted.
    """
    velocity = process.config.prediction_type == "v_prediction"
    target = process.get_velocity(clean, noise, timesteps) if velocity else noise
    predicted = model(process.add_noise(clean, noise, timesteps), timesteps, tokens)
    error: torch.Tensor = (predicted - target).square().mean((1, 2, 3))
    return error


def validation_loss(
    bare: Denoiser, process: Any, cache: np.ndarray, captions: Sequence[str], tokenizer: Any, batch_size: int = 32
) -> float:
    """Mean squared error of the prediction on held-out patients, unweighted; the same noise every time it is called.

    Image i meets timestep (k + 1/2) / N of the whole range, so that the N of them cover it evenly. k is the rank of a
    hash: rows stand in the order of their sources, and a source should not meet one level of noise only.
    """
    import torch

    device = next(bare.parameters()).device
    total = len(process.alphas_cumprod)
    places = sorted(range(len(cache)), key=lambda i: derived_seed(0, f"timestep {i}"))
    errors = []
    with torch.no_grad():
        for start in range(0, len(cache), batch_size):
            chosen = list(range(start, min(start + batch_size, len(cache))))
            clean, noise = draw_latents(cache, chosen, [derived_seed(0, f"validation {i}") for i in chosen])
            timesteps = torch.tensor([int((places[i] + 0.5) / len(cache) * total) for i in chosen])
            tokens = tokenize(tokenizer, [captions[i] for i in chosen])
            batch = (part.to(device) for part in (clean, noise, timesteps, tokens))
            errors.append(denoising_error(bare, process, *batch).cpu())
    return float(torch.cat(errors).mean())


def preview(
    run: Run, images: int, bare: Denoiser, fixtures: Fixtures, prompts: Sequence[str], known: np.ndarray
) -> dict[str, float | None]:
    """Render ``prompts`` to previews/images-N.png, and say how near to the training images ``known`` they fall.

    Returns the median distance to the nearest of them: a model that memorises falls below what `held_out_distance` is.
    """
    import torch

    from gen.model.sampling.contact_sheet import write_contact_sheet
    from gen.model.sampling.pipeline import sample
    from gen.model.sampling.torch_backend import TorchPipeline

    device = next(bare.parameters()).device
    vae = fixtures.vae.to(device)
    parts = (bare.unet, vae, bare.text_encoder, fixtures.tokenizer, fixtures.scheduler)
    pipeline = TorchPipeline(
        *parts,
        device,
        torch.float32,
        "as trained",
        rows=1,
        fingerprint=f"{run.folder.name} {images}",
        capabilities={key: value for key, value in fixtures.capabilities.items() if key == "decoder_noise"},
    )
    seeds = [derived_seed(0, k) for k in range(len(prompts))]
    pictures = list(sample(pipeline, prompts, seeds))
    folder = run.folder / "previews"
    folder.mkdir(exist_ok=True)
    write_contact_sheet(folder / f"images-{images:09d}.png", pictures, [f"{prompt}" for prompt in prompts])
    levels = torch.stack([torch.from_numpy(picture.pixels) for picture in pictures])[:, None] * 2 - 1
    return {"synthetic": float(np.median(nearest_distance(encode_grey(vae, levels), known)))}
