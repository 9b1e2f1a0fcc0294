"""Sampling: from a request to radiographs on disk."""
