"""Training of the anatomy network: projections with exact masks, made to look like films."""
