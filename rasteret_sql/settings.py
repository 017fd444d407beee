"""Limits and options: their names, defaults and meaning in one place.

A setting ``x`` comes from ``SET VARIABLE rasteret_x = …`` in SQL, else from the environment variable ``RASTERET_X``, else from its default.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rasteret_sql.errors import InvalidArgument, listing, near

MIB = 1 << 20
GIB = 1 << 30


def _setting(default: Any, help_text: str, *, minimum: float = 0) -> Any:
    return field(default=default, metadata={"help": help_text, "minimum": minimum})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults. Frozen and hashable: a plan carries the settings it was made with."""

    workspace: str = _setting("~/rasteret_workspace", "folder of the built collections")
    max_bytes: int = _setting(100 * GIB, "a query that would fetch more bytes is refused before reading")
    max_concurrency: int = _setting(32, "byte-range requests in flight at once", minimum=1)
    cache_bytes: int = _setting(64 * MIB, "decoded tiles kept in memory between queries")
    memory_bytes: int = _setting(
        48 * MIB, "bytes that one query holds in flight: fetched, not yet decoded; and pixels of one batch of results", minimum=MIB
    )
    timeout_s: float = _setting(600.0, "deadline of one query's reading in seconds", minimum=0.001)
    progress: bool = _setting(True, "progress bars on long work (stderr, terminals only)")


FIELDS: Mapping[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Settings)}


def resolve_settings(variables: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """SQL variable, else environment, else default; one bad value is an :class:`InvalidArgument` naming it."""
    env = os.environ if environ is None else environ
    chosen: dict[str, Any] = {}
    for name, spec in FIELDS.items():
        if (value := (variables or {}).get(name)) is not None:
            chosen[name] = _checked(f"rasteret_{name}", value, spec)
        elif (text := env.get(f"RASTERET_{name.upper()}")) is not None:
            chosen[name] = _checked(f"RASTERET_{name.upper()}", text, spec)
    if unknown := sorted(set(variables or {}) - set(FIELDS)):
        raise InvalidArgument(f"unknown setting {unknown[0]!r}{near(unknown[0], FIELDS)}; settings: {listing(FIELDS)}")
    return Settings(**chosen)


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or (not isinstance(value, str) and number != value):
        raise ValueError
    return number


def _nonempty(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _checked(label: str, value: Any, spec: dataclasses.Field[Any]) -> Any:
    kind: type = type(spec.default)
    shown = repr(value) if isinstance(value, str) else value
    try:
        if kind is bool:
            parsed: Any = value if isinstance(value, bool) else {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        elif kind is int:
            parsed = _whole(value)
        elif kind is str:
            parsed = _nonempty(value)
        else:
            parsed = kind(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{label} = {shown} is not {_KINDS[kind]}: {spec.metadata['help']}") from None
    if kind in (int, float) and not parsed >= spec.metadata["minimum"]:
        raise InvalidArgument(f"{label} = {shown} is too small; the least is {spec.metadata['minimum']}: {spec.metadata['help']}")
    return parsed
