"""The finishing of a training into an anatomy network's folder: half precision, figures on held-out bodies, card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from augment.anatomy.bodies import Body
from augment.anatomy.card import write_card
from augment.anatomy.config import AnatomyConfig
from augment.anatomy.measure import dice_table
from gen.anatomy.folder import load_anatomy, read_network, write_network
from gen.core.files import keep_whole, staged_folder, write_json, write_text
from gen.model.folder import CARD

FOLDER, FIGURES = "anatomy", "figures.json"
MEASURED = 24  # projections of each held-out body


def finish(
    run: Path,
    trained: Path,
    records: Mapping[str, Mapping[Body, np.ndarray]],
    radiographs: int,
    config: AnatomyConfig,
    images: int,
) -> Path:
    """Write ``run``/anatomy from the network in the folder ``trained``; one that is whole stays.

    ``radiographs`` and ``images`` are how many it learnt from.
    """
    folder = run / FOLDER
    if keep_whole(folder):
        return folder
    with staged_folder(folder) as stage:
        write_network(stage, read_network(trained)[0], config.size, torch.float16)
        anatomy = load_anatomy(stage)  # what is measured is what is shipped
        held_out = records["validation"]
        figures = {
            name: dice_table(anatomy, held_out, as_films=as_films, most=MEASURED)
            for name, as_films in (("As rendered", False), ("As films", True))
        }
        plain = {
            condition: {group: {organ: f.as_dict() for organ, f in row.items()} for group, row in table.items()}
            for condition, table in figures.items()
        }
        write_json(stage / FIGURES, {"images": images, "dice": plain})
        write_text(stage / CARD, write_card(anatomy, records["train"], radiographs, figures, config, images))
    return folder
