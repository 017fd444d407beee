"""Settings: SQL variable, else environment, else default; a bad value is one line that names it."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.settings import FIELDS, Settings, resolve_settings


def test_defaults():
    assert resolve_settings({}, {}) == Settings()
    assert resolve_settings(None, {}) == Settings()


def test_order_of_precedence():
    env = {"RASTERET_MAX_BYTES": "5", "RASTERET_WORKSPACE": "/env"}
    assert resolve_settings({}, env).max_bytes == 5
    found = resolve_settings({"max_bytes": 7}, env)
    assert (found.max_bytes, found.workspace) == (7, "/env")
    assert resolve_settings({"max_bytes": None}, env).max_bytes == 5, "an unset variable is NULL"


def test_the_process_environment(monkeypatch):
    monkeypatch.setenv("RASTERET_TIMEOUT_S", "12.5")
    assert resolve_settings().timeout_s == 12.5


def test_unknown_environment_is_ignored():
    assert resolve_settings({}, {"RASTERET_NONSENSE": "1", "RASTERET_": "2", "rasteret_max_bytes": "3"}) == Settings()


def test_unknown_variables_are_refused():
    with pytest.raises(InvalidArgument, match=r"unknown setting 'max_byte'; did you mean 'max_bytes'\?; settings: workspace, max_bytes, "):
        resolve_settings({"max_byte": 1}, {})


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("max_bytes", "100", 100),
        ("max_bytes", 10**12, 10**12),
        ("max_bytes", 0, 0),
        ("max_bytes", Decimal(5), 5),
        ("max_bytes", 2.0, 2),
        ("timeout_s", 3, 3.0),
        ("timeout_s", "0.5", 0.5),
        ("timeout_s", Decimal("1.5"), 1.5),
        ("progress", "FALSE", False),
        ("progress", "1", True),
        ("progress", 0, False),
        ("progress", True, True),
        ("workspace", "s p a c e", "s p a c e"),
    ],
)
def test_values(name, value, parsed):
    found = getattr(resolve_settings({name: value}, {}), name)
    assert (found, type(found)) == (parsed, type(parsed))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_bytes", "x", "rasteret_max_bytes = 'x' is not a whole number: a query that would fetch more bytes is refused before reading"),
        ("max_bytes", -1, "rasteret_max_bytes = -1 is too small; the least is 0"),
        ("max_bytes", "1.5", "rasteret_max_bytes = '1.5' is not a whole number"),
        ("cache_bytes", Decimal("1.5"), "rasteret_cache_bytes = 1.5 is not a whole number"),
        ("cache_bytes", float("inf"), "rasteret_cache_bytes = inf is not a whole number"),
        ("cache_bytes", float("nan"), "rasteret_cache_bytes = nan is not a whole number"),
        ("max_bytes", True, "rasteret_max_bytes = True is not a whole number"),
        ("max_bytes", [1], r"rasteret_max_bytes = \[1\] is not a whole number"),
        ("max_concurrency", 0, "rasteret_max_concurrency = 0 is too small; the least is 1"),
        ("memory_bytes", 5, "rasteret_memory_bytes = 5 is too small; the least is 1048576"),
        ("timeout_s", 0, "rasteret_timeout_s = 0 is too small; the least is 0.001"),
        ("timeout_s", "nan", "rasteret_timeout_s = 'nan' is too small"),
        ("timeout_s", "soon", "rasteret_timeout_s = 'soon' is not a number"),
        ("progress", "maybe", "rasteret_progress = 'maybe' is not true or false"),
        ("progress", 2, "rasteret_progress = 2 is not true or false"),
        ("workspace", "", "rasteret_workspace = '' is not a text: folder of the built collections"),
        ("workspace", 5, "rasteret_workspace = 5 is not a text"),
    ],
)
def test_bad_values(name, value, message):
    with pytest.raises(InvalidArgument, match=message):
        resolve_settings({name: value}, {})


def test_bad_environment_names_the_variable():
    with pytest.raises(InvalidArgument, match="RASTERET_MAX_BYTES = 'lots' is not a whole number"):
        resolve_settings({}, {"RASTERET_MAX_BYTES": "lots"})


def test_every_setting_is_documented_and_frozen():
    assert all(spec.metadata["help"] for spec in FIELDS.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().max_bytes = 3
    assert hash(Settings()) == hash(Settings())
