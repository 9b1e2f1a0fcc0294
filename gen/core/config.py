"""Configs: a frozen dataclass is the schema, YAML fills it, ``key=value`` overrides it, unknown keys are errors.

A `number` declares its range where it is declared itself, and whatever is read is held to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from gen.core.bundled import find_config
from gen.core.errors import BadInput

T = TypeVar("T")
# Keys that older configs have under another name. A config with one is an error; old data sets and runs still open.
RENAMED_KEYS = {"films_per_patient": "images_per_patient", "least_films": "least_images"}
_RANGES = "ranges"  # key of a field's metadata: pairs of what must hold of its value, and the hint where it does not


def number(
    default: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    share: bool = False,
) -> Any:
    """Declare a dataclass field of ``default`` whose finite value must lie in a range.

    above, least: it is greater than that, or not less. below: it is 0 or more, and less than that. share: it is from
    0 to 1. Several conditions are checked in this order, each with its own hint.
    """
    ranges: list[tuple[Callable[[float], bool], str]] = []
    if above is not None:
        ranges.append((lambda value: above < value < math.inf, f"it must be above {above}"))
    if least is not None:
        ranges.append((lambda value: least <= value < math.inf, f"it must be {least} or more"))
    if below is not None:
        ranges.append((lambda value: 0 <= value < below, f"it must be 0 or more, and less than {below}"))
    if share:
        ranges.append((lambda value: 0 <= value <= 1, "it must be from 0 to 1"))
    return dataclasses.field(default=default, metadata={_RANGES: ranges})


def check_ranges(config: Any, prefix: str = "") -> None:
    """Raise BadInput, naming the key ("shape.layers"), for a `number` of the nested dataclass out of its range."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{key}.")
        for holds, hint in field.metadata.get(_RANGES, ()):
            if value is not None and not holds(value):
                raise BadInput(f"{key} is {value}", hint=hint)


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """An instance of the (nested, frozen) dataclass ``cls`` from its defaults, a YAML file and ``key=value`` overrides.

    ``path`` may be the name of a config that travels with the package.
    ``${oc.env:NAME,default}`` and ``${other.key}`` are resolved. Raises BadInput, naming file and key, for a missing
    or broken file, an unknown key (with a suggestion, or its new name), a value of the wrong type or out of its range,
    or a required key without a value.
    """
    from omegaconf import OmegaConf

    merged = OmegaConf.structured(cls)
    if path is not None:
        for key, value in _read_yaml(find_config(path)).items():
            merged = _merge(merged, {key: value}, str(key), str(path))
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key.strip():
            raise BadInput(f"override {override!r} is not of the form key=value", hint="for example train.batch=8")
        try:
            parsed = OmegaConf.from_dotlist([override])
        except Exception as error:  # the YAML parser's and OmegaConf's own trees have no common base
            raise BadInput(f"override {override!r} is not valid YAML: {_first_line(error)}") from error
        merged = _merge(merged, parsed, key, f"override {override!r}")
    try:
        config = OmegaConf.to_object(merged)
    except Exception as error:  # a missing value, an interpolation that leads nowhere, or what cls itself refuses
        raise BadInput(f"{path or 'the config'}: {_describe(error, None)}") from error
    assert isinstance(config, cls)
    check_ranges(config)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """A config (dataclass or mapping) as plain dicts, lists, text and numbers: paths as text, enums as their name."""
    plain = _plain(config)
    assert isinstance(plain, dict), f"a config is a dataclass or a mapping, not {type(config).__name__}"
    return plain


def to_yaml(config: Any) -> str:
    """A config as YAML that ``load_config`` reads back to an equal one."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(to_dict(config))  # which quotes a text like 1e5, as PyYAML's own dumper does not


def _read_yaml(path: Path) -> Mapping[Any, Any]:
    from omegaconf import DictConfig, OmegaConf

    try:
        loaded = OmegaConf.load(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the config: {error.strerror or _first_line(error)}") from error
    except Exception as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise BadInput(f"{path}: a config is a table of keys and values, and this is a list")
    # Interpolations stay text here: they are resolved in the merged config, where every key exists.
    content = OmegaConf.to_container(loaded, resolve=False)
    assert isinstance(content, dict)
    return content


def _merge(config: Any, addition: Any, key: str, where: str) -> Any:
    from omegaconf import OmegaConf

    try:
        return OmegaConf.merge(config, addition)
    except Exception as error:
        raise BadInput(f"{where}: {_describe(error, key)}") from error


def _describe(error: Exception, key: str | None) -> str:
    """OmegaConf's first line with the full key before it, where it knows one; ``key`` otherwise."""
    name = getattr(error, "full_key", None) or key
    message = _first_line(error)
    new = RENAMED_KEYS.get(str(name).rpartition(".")[2])
    if message.startswith("Key ") and new in getattr(getattr(error, "object_type", None), "__dataclass_fields__", ()):
        return f"key '{name}' is now called '{new}'"
    if "$VALUE" in message:  # OmegaConf leaves its own template unfilled for the items of a list
        message = "an item has the wrong type and " + "".join(message.rpartition("could not be ")[1:])
    return f"key '{name}': {message}" if name else message


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value
