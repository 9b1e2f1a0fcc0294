"""A procedural chest CT from analytic solids, the default where there is no file."""
