"""The page's tab of bone suppression: a radiograph goes in, its soft tissue and its bone come out.

It answers as `gen suppress` does, with the same checks and the same errors but for their hints.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from gen.core.errors import BadInput, GenError

if TYPE_CHECKING:
    from augment.suppress.folder import Suppressor
    from gen.anatomy.folder import Anatomy

Listen = Callable[..., None]  # `gradio_app.listen`
ANY_PICTURE = "Take any picture"
NOTE = (
    "A network estimates what bone adds to a frontal chest radiograph (PNG, JPEG, DICOM) and takes it away. Something "
    "may be left, and something taken that was no bone. Pictures here have 8 bits; `gen suppress` keeps 16, and DICOM."
)


def build_tab(listen: Listen) -> None:
    """Add the tab to the gradio page that is being built; ``listen`` puts a function behind a button.

    One API endpoint, ``/suppress``: (file, strength, any picture) -> (gallery of PNG files, error).
    """
    import gradio as gr

    from gen.images.files import SUFFIXES

    with gr.Tab("Bone suppression"):
        gr.Markdown(NOTE)
        with gr.Row():
            with gr.Column():
                radiograph = gr.File(label="Radiograph", file_types=list(SUFFIXES), type="filepath")
                strength = gr.Slider(0.0, 1.0, value=1.0, step=0.05, label="Strength: the share of the bone to take")
                any_picture = gr.Checkbox(False, label=ANY_PICTURE)
                button = gr.Button("Suppress bone", variant="primary")
            with gr.Column(scale=2):
                gallery = gr.Gallery(label="Soft tissue and bone", format="png", columns=2, interactive=False)
                error = gr.Textbox(label="Error", placeholder="none", lines=2, interactive=False)
        strength.preprocess = lambda value: value  # our own function refuses what a caller sends beside the slider
        inputs = [radiograph, strength, any_picture]
        listen([button.click], suppress, inputs, [gallery, error], ([],), api_name="suppress")


def suppress(file: str | None, strength: float, any_picture: bool) -> tuple[list[tuple[Image.Image, str]]]:
    """Pictures with captions: the soft tissue and the bone of the radiograph in ``file``.

    Raises the errors of `gen suppress`, in which the file has its name and no folder, and the hint is of the tab.
    """
    from augment.suppress.job import parts_of
    from gen.core.radiograph import png_bytes

    if not file:
        raise BadInput("no radiograph was given", hint="choose a PNG, JPEG or DICOM file")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not math.isfinite(strength):
        raise BadInput("the strength must be a number")
    path, (suppressor, anatomy) = Path(file), _networks()
    try:
        remedy = f'"{ANY_PICTURE}" makes it all the same'
        parts = parts_of(path, suppressor, None if any_picture else anatomy, float(strength), remedy)
    except GenError as error:
        raise type(error)(error.message.replace(str(path), path.name), hint=error.hint) from error
    return ([(Image.open(io.BytesIO(png_bytes(image, 8))), name) for name, image in parts.items()],)


@cache
def _networks() -> tuple[Suppressor, Anatomy]:
    """The bundled ones, loaded for the first radiograph."""
    from augment.suppress.folder import load_suppressor
    from gen.anatomy.folder import load_anatomy

    return load_suppressor(), load_anatomy()
