"""The verdicts on an experiment's claims, on the terminal and in report.md."""

from collections.abc import Sequence

from ratelab.experiments.judging.outcome import Outcome, Row
from ratelab.experiments.spec import AXES, Spec
from ratelab.experiments.store import Store
from ratelab.terminal import markdown_table, print_table

COLUMNS = ["claim", "of", "number", "interval", "window", "claimed", "verdict", "expected"]


def report(spec: Spec, store: Store, outcomes: Sequence[Outcome]) -> None:
    """Print the table of the verdicts and their reasons, and write them beside the results."""
    table, reasons = [], []
    for number, outcome in enumerate(outcomes, 1):
        reasons.append(f"{number}. {_headline(outcome)}")
        table += [_line(spec, number, outcome, row) for row in outcome.rows]
        reasons += [f"   - {_reason(spec, outcome, row)}" for row in outcome.rows]
    count = _count(spec, outcomes)
    print_table(spec.title, COLUMNS, table)
    print("\n".join(reasons).replace("**", ""))
    print(count)
    title, shown = spec.title or store.folder.name, markdown_table(COLUMNS, table)
    text = "\n\n".join([f"# {title}", shown, count, "## Reasons", "\n".join(reasons)])
    store.write_text(store.report_file, text + "\n")
    print(f"wrote {store.report_file}")


def _headline(outcome: Outcome) -> str:
    claim = outcome.claim
    source = f" ({claim.source})" if claim.source.work else ""
    told = f"{outcome.word}, " if outcome.status == "refuted" and claim.source.said_of else ""
    no = f" ({(told + claim.size).removesuffix(', ')})" if told or claim.size else ""
    mark = "" if outcome.as_expected else ", NOT AS EXPECTED"
    more = "".join(f"; {text}" for text in (claim.finding, outcome.whose) if text)
    return f"{claim.sentence}{source}: **{outcome.status}**{no}{mark}{more}"


def _named(spec: Spec, row: Row) -> list[dict[str, str]]:
    """The legends of the curves that a row compares, by axis."""
    return [{axis: spec.label(getattr(side, axis)) for axis in AXES} for side in row.sides]


def _line(spec: Spec, number: int, outcome: Outcome, row: Row) -> list[str]:
    """A row of the table: of both sides of a comparison, what tells one from the other."""
    named = _named(spec, row)
    told = "".join(f" ({named[0][axis]})" for axis in outcome.each)
    differ = [axis for axis in AXES if named[0][axis] != named[-1][axis]]
    sides = (
        ", ".join([*(names[axis] for axis in differ), f"lr {lr}"])
        for names, lr in zip(named, row.lrs, strict=True)
    )
    return [f"{number}. {outcome.claim.sentence}{told}", " over ".join(sides), *outcome.cells(row)]


def _reason(spec: Spec, outcome: Outcome, row: Row) -> str:
    curves = (
        f"{', '.join(names.values())}, lr {lr}" for names, lr in zip(_named(spec, row), row.lrs, strict=True)
    )
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    notes = "".join(f"; {note}" for note in row.verdict.notes)
    return f"{' over '.join(curves)}{unit}: {outcome.quantity}{row.verdict.reason}{notes}"


def _count(spec: Spec, outcomes: Sequence[Outcome]) -> str:
    rows = sum(len(outcome.rows) for outcome in outcomes)
    shared = " (intervals of Monte Carlo verdicts share the 95 %: Bonferroni)" if spec.bonferroni else ""
    surprises = sum(not outcome.as_expected for outcome in outcomes)
    return f"claims: {len(outcomes)}, rows: {rows}{shared}; {surprises} not as expected"
