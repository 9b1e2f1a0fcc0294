"""A procedural chest CT from analytic solids, the default where there is no file: `make_phantom` makes it."""

from drr.phantom.chest import make_phantom as make_phantom
