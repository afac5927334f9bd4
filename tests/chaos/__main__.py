"""The command: ``python -m tests.chaos --seed 7 --kills 50 --shape embedded``."""

import shutil
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from actverse.terminal import stopped_by_signal
from tests.chaos.findings import COLUMNS
from tests.chaos.plan import AIMS, Shape, make_plan
from tests.chaos.run import Options, Verdict, run

console = Console(highlight=False, soft_wrap=True)


@click.command(context_settings={"show_default": True})
@click.option("--seed", type=int, default=0, help="Decides the kills and the load.")
@click.option("--kills", type=click.IntRange(0), default=15, help="How many.")
@click.option(
    "--shape", type=click.Choice([one.value for one in Shape]), default=Shape.EMBEDDED.value
)
@click.option("--minutes", type=float, default=60.0, help="No kill is begun after so many.")
@click.option("--settle", type=float, default=420.0, help="Seconds without news at last.")
@click.option("--stall", type=float, default=150.0, help="Seconds that work may be due unbegun.")
@click.option("--patience", type=float, default=300.0, help="Seconds to wait for a moment.")
@click.option("--only", type=click.Choice(list(AIMS)), multiple=True, help="Only these moments.")
@click.option("--load", "most", type=click.IntRange(1), default=3, help="Short tasks at once.")
@click.option("--out", type=click.Path(path_type=Path), help="Takes the result's JSON too.")
@click.option("--keep", is_flag=True, help="Keep the run's folder also if all is well.")
@click.option("--trainings/--no-trainings", default=True, help="Train, which takes minutes.")
@click.option("--plan", "only_plan", is_flag=True, help="Print the kills, and do none.")
def main(
    seed: int,
    kills: int,
    shape: str,
    out: Path | None,
    trainings: bool,
    only: tuple[str, ...],
    only_plan: bool,
    **given: object,
) -> None:
    """Kill processes of a stack under load; end with 1 if anything is not as it should be."""
    plan = make_plan(seed, kills, Shape(shape), trainings=trainings, only=only)
    if only_plan:
        for kill in plan:
            console.print(str(kill), markup=False)
        return
    options = Options(seed=seed, shape=Shape(shape), trainings=trainings, **given)  # type: ignore[arg-type]
    # Told to end, it first ends what it has started.
    with stopped_by_signal():
        verdict = run(plan, options, lambda line: console.print(line, markup=False))
    _show(verdict)
    if out is not None and (verdict.folder / "result.json").exists():
        shutil.copyfile(verdict.folder / "result.json", out)
    sys.exit(1 if verdict.findings else 0)


def _show(verdict: Verdict) -> None:
    for finding in verdict.findings:
        console.print(f"[{finding.column}] {finding.what}", markup=False)
        for detail in finding.details:
            console.print(f"      {detail}", markup=False)
        console.print(f"      after: {finding.after or 'no kill'}", markup=False)
    tasks = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.asked.items()))
    console.print(
        f"{verdict.done} of {verdict.planned} kills, {verdict.aimed} of them at their moment; "
        f"{sum(verdict.asked.values())} tasks ({tasks}); {verdict.repeats} notifications repeated, "
        f"as they may be; {verdict.seconds:.0f} s"
    )
    table = Table()
    table.add_column("finding")
    table.add_column("count", justify="right")
    table.add_column("what it counts")
    for column, meaning in COLUMNS.items():
        table.add_row(column, str(verdict.counts[column]), meaning)
    console.print(table)
    if verdict.findings:
        console.print(f"logs, database and result.json are in {verdict.folder}", markup=False)


if __name__ == "__main__":
    main()
