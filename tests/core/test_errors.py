"""An error is one line, whatever it was made from, and survives the way between processes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.core.errors import BadInput, EnvironmentLacks, GenError


@given(message=st.text(), hint=st.none() | st.text())
def test_an_error_is_one_line(message: str, hint: str | None) -> None:
    assert len(str(GenError(message, hint=hint)).splitlines()) <= 1


@pytest.mark.parametrize(("kind", "code"), [(GenError, 1), (BadInput, 2), (EnvironmentLacks, 3)])
def test_an_error_survives_pickling_with_hint_and_exit_code(kind: type[GenError], code: int) -> None:
    copy = pickle.loads(pickle.dumps(kind("what went wrong", hint="what to do")))
    assert type(copy) is kind
    assert (str(copy), copy.exit_code) == ("what went wrong; what to do", code)
