"""Checking what a user wrote in a call, one line an error; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rasteret_sql.errors import BandNotFound, InvalidArgument, listing, near, redact
from rasteret_sql.settings import Settings, resolve_settings

_FIRST_CODE, _LAST_CODE = 1024, 32767
"""Numbers that EPSG gives to CRSs."""
MOST_SHOWN = 120
"""Characters of a value, or values of a list, that a message has."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The named arguments of one call, NULLs dropped, and the settings in force."""

    function: str
    values: Mapping[str, Any]
    settings: Settings

    @classmethod
    def of(cls, function: str, row: Mapping[str, Any]) -> Arguments:
        values = {name: value for name, value in row.items() if value is not None and name != "settings"}
        return cls(function, values, resolve_settings(row.get("settings") or {}))

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def required(self, name: str) -> Any:
        if name not in self.values:
            raise InvalidArgument(f"{name} is missing")
        return self.values[name]

    def choice(self, name: str, valid: Iterable[str]) -> str:
        """One of a few words; the first is the default."""
        words = list(valid)
        value = self.get(name, words[0])
        if value not in words:
            raise InvalidArgument(f"{name} := {shown(value)} is not valid{near(str(value), words)}; valid: {listing(words)}")
        return str(value)

    def flag(self, name: str) -> bool:
        value = self.get(name, False)
        if not isinstance(value, bool):
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; valid: true, false")
        return value

    def count(self, name: str, most: int) -> int:
        value = self.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; whole numbers from 0 to {most} are")
        return value

    def number(self, name: str) -> float | None:
        """A number greater than 0."""
        value = self.get(name)
        if value is None:
            return None
        if not _is_number(value) or not value > 0:
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; a number greater than 0 is")
        return float(value)

    def place(self, name: str) -> tuple[float, float] | None:
        """A pair of coordinates, as a list or a row; a single number stands for both."""
        value = self.get(name)
        if value is None:
            return None
        parts = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list | tuple) else [value, value]
        if len(parts) != 2 or not all(_is_number(part) for part in parts):
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; two coordinates such as [0, 0] are")
        return float(parts[0]), float(parts[1])

    def name(self, name: str, what: str = "a column name in quotes") -> str | None:
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; {what} is")
        return value

    def crs(self, name: str) -> str | None:
        value = self.get(name)
        code = value if isinstance(value, int) and _FIRST_CODE <= value <= _LAST_CODE else 32643
        return self.name(name, f"a CRS in quotes such as 'EPSG:{code}'")

    def names(self, name: str) -> list[str] | None:
        """A list of names; a single one counts as a list of one."""
        value = self.get(name)
        found = [value] if isinstance(value, str) else value
        if found is not None and not (isinstance(found, list) and found and all(isinstance(item, str) for item in found)):
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; a list of names is, such as ['B04', 'B08']")
        return found

    def mapping(self, name: str, kind: type) -> dict[str, Any] | None:
        """A STRUCT or MAP of names to values of one kind."""
        value = self.get(name)
        if value is None:
            return None
        is_map = isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
        pairs = dict(value) if is_map else value
        if not isinstance(pairs, dict) or not all(isinstance(key, str) and type(item) is kind for key, item in pairs.items()):
            example = _EXAMPLES.get(name) or ("{'name': 0, …}" if kind is int else "{'name': 'other', …}")
            raise InvalidArgument(f"{name} := {shown(value)} is not valid; {example} is")
        return pairs


_EXAMPLES = {"expressions": "{'ndvi': '(B08 - B04) / (B08 + B04)'}", "band_map": "{'B04': 'red', 'B08': 'nir'}"}


def _is_number(value: Any) -> bool:
    """A finite number, DECIMAL included; true and false are none."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    """A value as SQL writes it, as far as messages need it: long ones are cut, URLs without their secrets."""
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{_cut(', '.join(map(shown, value[:MOST_SHOWN])))}]"
    if isinstance(value, str):
        return repr(_cut(redact(value)))
    return _cut(repr(value) if isinstance(value, dict | bytes) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def chosen_bands(asked: Any, known: list[str] | None) -> list[str]:
    """The bands of a call: those asked for, checked where the collection's are known; a collection of one band needs no asking."""
    if asked is None:
        if known is None or len(known) != 1:
            raise BandNotFound(f"bands is missing; choose from: {listing(known or ())}")
        return known
    names = [asked] if isinstance(asked, str) else asked
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"bands := {shown(asked)} is not valid; a list of band names is, such as ['B04', 'B08']")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InvalidArgument(f"band {shown(repeated)} is asked for twice")
    for name in names:
        if known is not None and name not in known:
            raise BandNotFound(f"unknown band {shown(name)}{near(name, known)}; bands: {listing(known)}")
    return names
