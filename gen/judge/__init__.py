"""The judge: one small network that says what it sees in a radiograph, trained on real images only, and its figures."""
