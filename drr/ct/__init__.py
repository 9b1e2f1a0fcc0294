"""The patient: CT and label files in canonical order, the body in them, and its materials."""
