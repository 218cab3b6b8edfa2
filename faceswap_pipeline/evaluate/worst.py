"""Which frames stand out, and why.

In: figures over the film. Out: at most twenty frames in which a figure is not good, each group of figures in turn, so
that one thing that is bad everywhere does not hide the others.
"""

from collections.abc import Mapping
from typing import Any

from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.evaluate.groups import Series

COUNT = 20
APART = 0.25
"""Seconds between two of them at least: neighbours show the same."""


def worst_frames(
    series: Mapping[str, Series], times: Mapping[int, float], rate: float, count: int = COUNT
) -> list[dict[str, Any]]:
    """Frame, seconds, metric, value and level of the worst frames, the worst first within each group of metrics."""
    ranked = {}
    for group in dict.fromkeys(metric.group for metric in METRICS.values()):
        candidates = [
            (METRICS[name].badness(value), frame, name, value)
            for name, one in series.items()
            if METRICS[name].group == group
            for frame, value in zip(one.frames, one.values, strict=True)
            if METRICS[name].level(value) != "good"
        ]
        ranked[group] = sorted(candidates, key=lambda candidate: (-candidate[0], candidate[1]))
    chosen: list[dict[str, Any]] = []
    while any(ranked.values()) and len(chosen) < count:
        for candidates in ranked.values():
            while candidates and len(chosen) < count:
                _, frame, name, value = candidates.pop(0)
                if all(abs(frame - other["frame"]) >= max(1.0, APART * rate) for other in chosen):
                    level = METRICS[name].level(value)
                    seconds = round(times.get(frame, frame / rate), 3)
                    chosen.append({"frame": frame, "seconds": seconds, "metric": name, "value": value, "level": level})
                    break
    return chosen
