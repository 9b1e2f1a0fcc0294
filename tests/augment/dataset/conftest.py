"""What these tests share stands beside them, in toy_set.py and whole_set.py."""

from __future__ import annotations

import sys
from pathlib import Path

# Not as tests.augment.dataset: a package of a dependency is called tests too.
sys.path.append(str(Path(__file__).parent))
