"""Data for training and figures: manifests, splits, loaders and captions."""
