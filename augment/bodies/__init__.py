"""Bodies for prompts: a phantom or a CT that fits a Study, projected, and as what sampling starts from."""
