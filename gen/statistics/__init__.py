"""One ruler for judge, evaluation, gates and benchmarks: intervals by patient, scores of probabilities, groups."""
