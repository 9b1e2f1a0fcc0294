"""The generator: a latent diffusion model in stock diffusers and transformers classes, its training and sampling."""
