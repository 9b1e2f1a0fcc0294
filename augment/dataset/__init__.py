"""The data set job: balanced, checked, copy-free sets of radiographs from a config."""
