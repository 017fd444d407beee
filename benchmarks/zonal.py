"""Zonal statistics as results: their common form, what is right, and how near a contender must come.

A result is float64 of shape (zones, scenes, bands, statistics), zones in the order of ``inputs.ids``, NaN for NULL. Two rules say which pixels are in
a zone: ``fractional`` weighs every pixel with the share of it that is covered, ``center`` takes those whose centres are inside. The reference holds
both, zones in the order of their ids, and each contender is judged by the rule it has.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

ZONAL = ("W4", "W2z")
STATISTICS = ("count", "mean", "min", "max", "sum")
TOLERANCE = {
    "fractional": {"count": 1e-6, "mean": 1e-6, "sum": 1e-6, "min": 0.0, "max": 0.0},
    "center": {"count": 0.0, "mean": 1e-12, "sum": 1e-12, "min": 0.0, "max": 0.0},
}
"""Largest relative difference that passes (``min`` and ``max``: share of zones that differ). exactextract has shares in float32."""


def in_order(table: Any) -> np.ndarray:
    """(zones, statistics) of a frame that exactextract made, whose ids are text and whose rows are in any order."""
    return table.assign(id=table["id"].astype(int)).sort_values("id")[list(STATISTICS)].to_numpy(float)


def filled(numbers: np.ndarray) -> np.ndarray:
    """A zone without pixels counts 0, whatever a contender says of it, and has no other statistic."""
    out = numbers.copy()
    out[..., 0] = np.nan_to_num(out[..., 0])
    out[out[..., 0] == 0, 1:] = np.nan
    return out


def deviation(found: np.ndarray, right: np.ndarray, rule: str) -> dict[str, float]:
    """By statistic the largest relative difference (``min``, ``max``: the share of zones that differ); infinite where only one has a value."""
    report: dict[str, float] = {}
    for s, name in enumerate(STATISTICS):
        a, b = found[..., s], right[..., s]
        both = np.isfinite(a) & np.isfinite(b)
        if (np.isfinite(a) != np.isfinite(b)).any():
            report[name] = float("inf")
        elif name in ("min", "max"):
            report[name] = float((a[both] != b[both]).mean()) if both.any() else 0.0
        else:
            scale = np.maximum(np.abs(b[both]), 1.0 if rule == "fractional" else 1e-300)
            report[name] = float((np.abs(a[both] - b[both]) / scale).max(initial=0.0))
    return report


def judge(found: np.ndarray, ids: np.ndarray, reference: Path, rule: str) -> tuple[str, dict[str, float]]:
    """The reference's digest if every number is as near to it as it must be, else what is off; and how near it is."""
    with np.load(reference) as held:
        right, mark = held[rule], digest_of(held["fractional"], held["center"])
    if found.shape != right.shape:
        return f"shape {found.shape}, expected {right.shape}", {}
    report = deviation(filled(found[np.argsort(ids)]), filled(right), rule)
    allowed = TOLERANCE[rule]
    off = [f"{name} {report[name]:.1e}" for name in STATISTICS if not report[name] <= allowed[name]]
    return f"off by {', '.join(off)}" if off else mark, report


def digest_of(fractional: np.ndarray, center: np.ndarray) -> str:
    return hashlib.sha256(fractional.tobytes() + center.tobytes()).hexdigest()[:16]
