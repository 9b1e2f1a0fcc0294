"""What dciodvfy, an independent validator of DICOM files, finds wrong: Debian's dicom3tools, here 1.00.20220618."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# SyntheticData came into DICOM after the dictionary of this version: the one error that is its own.
NEWER = "Error - Attribute with an even group number is not a recognized standard attribute - (0x0008,0x001c)"


def dicom_errors(path: Path, kind: str = "SCImage") -> list[str]:
    """The error lines for the file ``path``, which the validator knows as of ``kind``; skips the test without it."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr.splitlines()
    assert kind in said, said  # it knew the kind of the file, so it looked for what that kind requires
    return [line for line in said if "Error" in line and not line.startswith(NEWER)]
