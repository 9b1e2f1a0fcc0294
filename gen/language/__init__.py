"""The language of radiographs: a `Study` in words and back. Nothing heavy is imported here."""
