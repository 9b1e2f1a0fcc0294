"""Classifiers: training one on real and synthetic radiographs, and the comparison that says whether these help."""
