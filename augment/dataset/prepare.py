"""What is known of a data set before the work: its plan, its first prompts, and whether the disk has room for it.

It is the first answer of a dry run, so nothing heavy is imported here: not torch, nor the gates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from augment.dataset.config import FORMATS, DatasetConfig
from augment.dataset.plan.plan import Plan, plan_of, plan_text
from augment.dataset.projected import projectable
from augment.dataset.sources import capabilities_of, prompt_warnings, size_of, steps_and_guidance
from gen.core.errors import BadInput
from gen.core.files import require_free_space
from gen.core.terms import require_choice

BYTES_A_PIXEL = 0.8  # of an image with its record, 8-bit PNG; each further format, and each twin, takes as much again
LOOKED_AT = 200  # rows of the plan whose prompts are looked at


@dataclass(frozen=True)
class FirstAnswer:
    """What is known without making an image: the plan, the room that it takes, and what is amiss."""

    plan: Plan
    text: str
    warnings: tuple[str, ...]


def first_answer(config: DatasetConfig) -> FirstAnswer:
    """Plan ``config``, in seconds and with nothing loaded or written. Raises what the job itself would."""
    plan = plan_job(config)
    room = require_room(config, plan.rows)
    files = f"{plan.rows:,} images take at most about {room / 1e6:,.0f} MB of disk."
    return FirstAnswer(
        plan, f"{plan_text(plan)}\n\n{files}", (*plan.warnings, *prompt_warnings(config, first_prompts(plan)))
    )


def plan_job(config: DatasetConfig) -> Plan:
    """The plan of ``config``; BadInput for whatever in it cannot be, before anything heavy is loaded."""
    for name in ("shard_size", "threads"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name} is {getattr(config, name)}", hint="use a whole number above 0")
    if config.guidance is not None and not math.isfinite(config.guidance):
        raise BadInput(f"guidance is {config.guidance}", hint="use a number such as 1.5; 1 is no guidance")
    if not 0 <= config.projections.strength <= 1:
        raise BadInput(f"projections.strength is {config.projections.strength:g}", hint="use a number from 0 to 1")
    for name in config.formats:
        require_choice("format", name, FORMATS)
    capabilities = capabilities_of(config)
    steps = steps_and_guidance(config, capabilities)[0]
    if config.projections.strength and not round(steps * config.projections.strength):
        raise BadInput(f"projections.strength {config.projections.strength:g} of {steps} steps is none")
    return plan_of(config, capabilities, projectable(config))


def first_prompts(plan: Plan) -> list[str]:
    """Some prompts of the plan, to be looked at before the work."""
    return [plan.row(number).prompt for number in range(min(plan.rows, LOOKED_AT))]


def require_room(config: DatasetConfig, rows: int) -> int:
    """Bytes of ``rows`` more images in all their files, at most; EnvironmentLacks where the disk has no such room."""
    pictures = rows * (1 + len(config.twins)) * (1 + len(config.formats))
    room = round(pictures * size_of(config) ** 2 * BYTES_A_PIXEL)
    require_free_space(config.out, room, "writing the images")
    return room
