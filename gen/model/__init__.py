"""The generator: a latent diffusion model in stock diffusers and transformers classes, its training and sampling."""

DEFAULT_STEPS = 20
DEFAULT_STRENGTH = 0.5  # of sampling that starts from an image
DEFAULT_ANATOMY_STRENGTH = 0.25  # of sampling that starts from a projected body; RESULTS.md compares it with others
DEFAULT_HELD_STRENGTH = 0.1  # where what was put into the body lies
DEFAULT_GUIDANCE = 2.0  # of the bundled model, inside its interval of noise levels; RESULTS.md compares it with others
BACKENDS = ("auto", "torch", "openvino")
