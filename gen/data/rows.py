"""A manifest row as a `Study`, and a `Study` as the columns of a row: the one place where the two meet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gen.core.errors import BadInput
from gen.core.terms import standard_name
from gen.language.study import Finding, Study

if TYPE_CHECKING:
    from gen.core.manifest import Row

# The column of each state.
STATE_COLUMNS = {"absent": "absent", "uncertain": "uncertain", "present": "findings"}


def study_of(row: Row) -> Study:
    """Read the Study of ``row``. The JSON column `study` is the authority where it is not empty.

    Otherwise the columns count: "AP Supine" is AP with position supine, an age is cut to whole years, and notes that
    speak of a paediatric patient make a child of one whose age is not given. Raises BadInput that names the file, also
    for a finding that stands in the columns of two states.
    """
    try:
        if row.study:
            return Study.from_json_dict(json.loads(row.study))
        view, position = _view_and_position(row.view)
        age = None if row.age is None else int(row.age)
        child = age is None and re.search(r"\bpa?ediatric\b", row.notes or "", re.IGNORECASE) is not None
        return Study(
            age=age,
            age_group="child" if child else None,
            sex=row.sex or None,
            race=row.race or None,
            view=view,
            position=position,
            findings=_findings(row),
        )
    except json.JSONDecodeError as error:
        raise BadInput(f"{row.file_name}: column study is not JSON ({error.msg})") from error
    except BadInput as error:
        raise BadInput(f"{row.file_name}: {error.message}", hint=error.hint) from error


def labels_of(study: Study) -> dict[str, Any]:
    """The columns of a `Row` that say ``study``: age, sex, race, view, the findings by state, and the whole as JSON."""
    return {
        "age": study.age,
        "sex": study.sex or "",
        "race": study.race or "",
        "view": study.view or "",
        **{
            column: tuple(name for name, finding in study.findings.items() if finding.state == state)
            for state, column in STATE_COLUMNS.items()
        },
        "study": json.dumps(study.to_json_dict(), sort_keys=True, ensure_ascii=False),
    }


def _findings(row: Row) -> dict[str, Finding]:
    """The findings of the columns of ``row``, by standard name where there is one."""
    findings: dict[str, Finding] = {}
    for state, column in STATE_COLUMNS.items():
        for name in getattr(row, column):
            term = standard_name(name) or name
            before = findings.setdefault(term, Finding(state)).state
            if before != state:
                raise BadInput(f"its labels say that {term} is {before} and {state}", hint="leave one of them out")
    return findings


def _view_and_position(view: str | None) -> tuple[str | None, str | None]:
    """ "AP Supine" -> ("AP", "supine"); the position, where there is one, is the last word."""
    if not view:
        return None, None
    first, _, rest = view.partition(" ")
    return first, rest.lower() or None
