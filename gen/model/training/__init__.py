"""Training the generator: the session that every trainer shares, and the loops of autoencoder and denoiser."""
