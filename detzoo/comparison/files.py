"""What a comparison leaves behind: table.md, table.csv, table.json, speed_ap.png, index.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detzoo.comparison.page import comparison_page, points_of
from detzoo.comparison.plots import save, speed_ap_figure
from detzoo.comparison.protocol import protocol_table
from detzoo.runtime.atomic_files import write_text

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset
    from detzoo.runtime.text_table import Table


def write_files(plan: ComparisonPlan, dataset: Dataset, entries: Sequence[ComparisonEntry], table: Table) -> list[Path]:
    """Write everything; returns the paths, the page first."""
    out = plan.out
    write_text(out / "index.html", comparison_page(dataset, entries, table, plan.examples).html())
    write_text(out / "table.md", table.markdown() + "\n" + protocol_table(entries).markdown())
    write_text(out / "table.csv", table.csv())
    write_text(out / "table.json", table.json())
    save(speed_ap_figure(points_of(entries, table)), out / "speed_ap.png")
    return [out / name for name in ("index.html", "table.md", "table.csv", "table.json", "speed_ap.png")]
