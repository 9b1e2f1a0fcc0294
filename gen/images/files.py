"""The image files that a command is given: named one by one, by a folder, or by a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gen.core.errors import BadInput
from gen.core.manifest import METADATA, SPLITS, read_manifest

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The images that ``paths`` name: files as they are, of a data set those that it lists, of a folder all in it.

    A data set has masks and pictures beside its images, so its table decides. BadInput for what is not there, and for
    a folder without an image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise BadInput(f"{path}: no such file or folder")
            found[path] = None
            continue
        if any((path / part / METADATA).exists() for part in ("", *SPLITS)):
            files = [path / (row.split or "") / row.file_name for row in read_manifest(path).rows]
        else:
            files = sorted(each for each in path.rglob("*") if _is_image(each))
        if not files:
            raise BadInput(f"{path} holds no image", hint=f"files end in {', '.join(SUFFIXES)}, or are DICOM")
        found |= dict.fromkeys(files)
    return list(found)


def _is_image(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
