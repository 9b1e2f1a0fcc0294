"""The judge: one small network that says what it sees in a radiograph, trained on real films only, and its figures."""
