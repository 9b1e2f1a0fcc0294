"""Which source can make a cell of the plan: the model by what it learnt, the projector by what it has shapes for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from augment.dataset.config import DatasetConfig, band
from augment.dataset.plan.target import ResolvedTarget
from gen.core.errors import BadInput
from gen.language.study import Finding, Study
from gen.model.capabilities import capability_warnings

Cell = Mapping[str, str]  # values by attribute


@dataclass(frozen=True)
class CellMakers:
    """``lacks`` has the reason by (attribute, value) that the model was not shown; ``projectable`` (None: switched off)
    says why a cell cannot be projected, or None where it can."""

    lacks: Mapping[tuple[str, str], str]
    projectable: Callable[[Cell], str | None] | None
    config: DatasetConfig

    def model_lacks(self, cell: Cell, further: Sequence[str] = ()) -> list[tuple[str, str]]:
        """What of a cell, and of the findings beside its own, the model was never shown."""
        asked = [*cell.items(), *(("finding", name) for name in further)]
        return [pair for pair in asked if pair in self.lacks]

    def obstacle(self, cell: Cell, further: Sequence[str] = ()) -> str | None:
        """Why a cell with findings beside its own cannot be projected; None where it can."""
        if self.projectable is None:
            return "projections.use is 'never'"
        if (reason := self.projectable(cell)) or not further:
            return reason
        from augment.dataset.projected import study_obstacle  # seconds, for it stands on the whole projector

        return study_obstacle(Study(findings=dict.fromkeys([cell["finding"], *further], Finding())), self.config)

    def refusal(self, unmet: Sequence[tuple[Cell, Sequence[str]]]) -> BadInput:
        """The error for cells (with findings beside their own) that neither source can make: one line, what is lacking
        in the first of them with the reason, and then what else is."""
        cell, further = unmet[0]
        lacking = dict.fromkeys(pair for each in unmet for pair in self.model_lacks(*each))
        (name, value), *others = lacking
        beside = name == "finding" and value != cell[name]
        what = f"finding {value!r} beside {cell[name]!r}" if beside else f"target.{name} {value!r}"
        also = f" (nor can {', '.join(f'{n} {v!r}' for n, v in others)})" if others else ""
        out = "state other findings beside it" if beside else "leave the value out"
        reason = f"{what} cannot be made{also}: {self.lacks[name, value]}"
        if self.projectable is None:
            # Nobody's race is seen in a projection, whatever the CT: there that hint would lead to the next refusal.
            return BadInput(reason, hint=out if name == "race" else f"set projections.use='when_needed', or {out}")
        where = ", ".join([*cell.values(), *further])
        return BadInput(f"{reason}, and by projection: {self.obstacle(cell, further)} ({where})", hint=out)


def makers_of(
    config: DatasetConfig,
    target: ResolvedTarget,
    capabilities: Mapping[str, Any] | None,
    projectable: Callable[[Cell], str | None],
) -> CellMakers:
    """The makers of the cells of ``target``; a model without ``capabilities`` lacks nothing."""
    pairs = [(name, value) for name in target.values for value in target.values[name]]
    pairs += [("finding", name) for shares in target.sets.values() for further in shares for name in further]
    lacks = {}
    for name, value in dict.fromkeys(pairs):
        if reasons := [line for study in _studies(name, value) for line in capability_warnings(capabilities, study)]:
            lacks[name, value] = reasons[0].removesuffix(" will have no reliable effect").removesuffix(": it")
    return CellMakers(lacks, None if config.projections.use == "never" else projectable, config)


def _studies(name: str, value: str) -> list[Study]:
    """Studies that say no more than a value; for a band of ages, of its ends."""
    if name == "age":
        return [Study(age=age) for age in band(value)]
    if name == "finding":
        return [Study(findings={value: Finding()})]
    fields: dict[str, Any] = {name: value}
    return [Study(**fields)]
