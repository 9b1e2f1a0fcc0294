"""Whether an image belongs in a data set: what it shows, how good it is, and whether it is a copy."""
