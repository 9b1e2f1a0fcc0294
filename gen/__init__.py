"""The generator: chest radiographs from words. It imports ``gen.core`` and third parties, no ``drr`` or ``augment``."""

__version__ = "0.1.0"
