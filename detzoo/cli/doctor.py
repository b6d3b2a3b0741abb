"""``detzoo doctor``: versions, devices and known problems."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print versions and devices, and check for known problems; exit code 1 if there are any."""
    from rich.console import Console
    from rich.markup import escape

    from detzoo.plugins.doctor import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
        raise typer.Exit(1 if report.problems else 0)
    console = Console(highlight=False, soft_wrap=True)
    sections: dict[str, dict[str, str | None]] = {
        "system": {**report.system},
        "versions": report.versions,
        "devices": {device.partition(" ")[0]: device.partition(" ")[2] for device in report.devices},
        "plugins": {**report.plugins},
    }
    for title, rows in sections.items():
        console.print(f"[bold]{title}[/bold]")
        for name, value in rows.items():
            console.print(f"  {name:<24}{escape(value) if value else '[dim]not installed (extra)[/dim]'}")
    for problem in report.problems:
        console.print(
            f"\n[bold red]problem[/bold red]  {escape(problem.what)}\n     [bold]fix[/bold]  {escape(problem.fix)}"
        )
    console.print("\nno problems found" if not report.problems else f"\n{len(report.problems)} problem(s)")
    raise typer.Exit(1 if report.problems else 0)
