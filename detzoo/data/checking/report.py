"""Problems and summaries as text and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from detzoo.data.checking.problems import DataProblem
from detzoo.runtime.report_text import terminal_text


def as_json(problems: Sequence[DataProblem]) -> str:
    """A list of mappings: severity, code, path, line, message, image."""
    return json.dumps([dataclasses.asdict(problem) for problem in problems], indent=1)


def as_lines(problems: Sequence[DataProblem], limit: int | None = None) -> str:
    """One line per problem, errors first, and a summary; of each code at most ``limit``."""
    rank = {"error": 0, "warning": 1, "info": 2}
    kinds = Counter((problem.severity, problem.code) for problem in problems)
    shown: Counter[tuple[str, str]] = Counter()
    lines = []
    for problem in sorted(problems, key=lambda problem: (rank[problem.severity], problem.code)):
        kind = (problem.severity, problem.code)
        shown[kind] += 1
        if limit is None or shown[kind] <= limit:
            lines.append(str(problem))
        elif shown[kind] == limit + 1:
            lines.append(f"... and {kinds[kind] - limit} more {problem.code} (--all shows them)")
    counts = Counter(problem.severity for problem in problems)
    numbers = (("error", counts["error"]), ("warning", counts["warning"]), ("note", counts["info"]))
    found = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for word, number in numbers)
    lines.append(found if problems else "no defect found")
    return terminal_text("\n".join(lines))


def describe(summary: dict[str, Any]) -> str:
    """The numbers of ``statistics.summarise`` as a few lines."""
    boxes, sides = summary["boxes_per_image"], summary["box_side_px"]
    lines = [
        f"{summary['name']} {summary['split']}: {summary['images']} images, {summary['boxes']} boxes, "
        f"{len(summary['classes'])} classes{', masks' if summary['masks'] else ''}",
        f"  boxes per image: mean {boxes['mean']}, max {boxes['max']}; "
        f"{summary['images_without_objects']} images without objects",
        f"  difficult {summary['difficult']}, crowd {summary['crowd']}, left out {summary['left_out']}",
    ]
    if summary["groups"] is not None:
        lines.append(f"  {summary['groups']} groups of images")
    if sides:
        lines.append("  box side px: " + ", ".join(f"{name} {value:g}" for name, value in sides.items()))
    sizes = ", ".join(f"{height} x {width} ({count})" for height, width, count in summary["image_sizes"])
    lines.append(f"  most frequent image sizes, height x width: {sizes}")
    used = {name: count for name, count in summary["classes"].items() if count}
    lines.append("  " + ", ".join(f"{name} {count}" for name, count in used.items()))
    unused = len(summary["classes"]) - len(used)
    if unused:
        lines.append(f"  {unused} classes without a box")
    return "\n".join(lines)
