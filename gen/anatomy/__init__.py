"""Anatomy: one small network that finds the organs of any chest radiograph; it learnt from projections with masks."""
