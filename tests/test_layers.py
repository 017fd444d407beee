"""The arrows of the architecture: every module imports only from its own layer or from those below (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [
    {"errors", "settings", "progress", "progress_text"},
    {"raster"},
    {"storage"},
    {"reader"},
    {"collection", "sample"},
    {"udfs"},
    {"sql"},
    {"api", "outputs"},
    {"doctor"},
    {"cli", "demo", "shell", "dbt", "serve", "notebook"},
]
"""From the bottom up. A module may import its own layer and any before it."""
ONLY_IN = {
    "duckdb": {"sql", "demo", "shell", "doctor", "dbt", "serve", "notebook"},
    "fsspec": {"sql"},
    "aiohttp": {"storage"},
    "asyncio": {"storage", "reader"},
    "pyarrow": {"collection", "shell", "udfs", "sql", "sample", "api", "outputs"},
}
"""Packages that only some parts may know."""


def modules() -> list[Path]:
    return sorted([*(ROOT / "rasteret_sql").rglob("*.py"), *(ROOT / "udfs").glob("*.py")])


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return "udfs" if relative.parts[0] == "udfs" else relative.parts[1].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "rasteret_sql" else [node.module or ""]
    return found


def level(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        pytest.skip("the package's face")
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "rasteret_sql" and rest and not rest.startswith("__"):
            assert level(rest.split(".")[0]) <= level(part), f"{part} imports {name}, which lies above it"
        if top in ONLY_IN:
            assert part in ONLY_IN[top], f"{part} imports {top}; only {sorted(ONLY_IN[top])} may"


def test_every_module_is_in_a_layer() -> None:
    known = set().union(*LAYERS) | {"__init__"}
    assert {part_of(path) for path in modules()} <= known


def test_rooms_stay_small() -> None:
    crowded = [path for path in modules() if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    assert not crowded
