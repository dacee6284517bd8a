"""Order statistics of a list of numbers."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of them lie; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def summary(values: Sequence[float], unit: float) -> dict[str, float]:
    """p50, p99 and how many, divided by `unit`."""
    ordered = sorted(values)
    return {
        "p50": percentile(ordered, 0.5) / unit,
        "p99": percentile(ordered, 0.99) / unit,
        "count": len(ordered),
    }
