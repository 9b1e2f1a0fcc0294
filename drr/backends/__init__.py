"""The projectors behind `drr.projector`: the oracle in numpy, the stack in numba and in C, torch, and DeepDRR."""
