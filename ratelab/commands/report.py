"""The verdicts on an experiment's claims, on the terminal and in report.md."""

from collections.abc import Sequence

from ratelab.experiments.claims import Judgement, Row
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Store
from ratelab.terminal import markdown_table, print_table

COLUMNS = ["claim", "of", "number", "interval", "window", "claimed", "verdict", "expected"]
_CURVE = ("problem", "method", "schedule", "averaging")


def report(spec: Spec, store: Store, judgements: Sequence[Judgement]) -> None:
    """Print the table of the verdicts and their reasons, and write them beside the results."""
    table, reasons = [], []
    for number, judgement in enumerate(judgements, 1):
        reasons.append(f"{number}. {_headline(judgement)}")
        table += [_line(spec, number, judgement, row) for row in judgement.rows]
        reasons += [f"   - {_reason(spec, judgement, row)}" for row in judgement.rows]
    count = _count(spec, judgements)
    print_table(spec.title, COLUMNS, table)
    print("\n".join(reasons).replace("**", ""))
    print(count)
    title, shown = spec.title or store.folder.name, markdown_table(COLUMNS, table)
    text = "\n\n".join([f"# {title}", shown, count, "## Reasons", "\n".join(reasons)])
    store.write_text(store.report_file, text + "\n")
    print(f"wrote {store.report_file}")


def _headline(judgement: Judgement) -> str:
    claim = judgement.claim
    source = f" ({claim.source})" if claim.source else ""
    mark = "" if judgement.as_expected else ", NOT AS EXPECTED"
    return f"{claim.sentence}{source}: **{judgement.status}**{mark}"


def _named(spec: Spec, row: Row) -> list[dict[str, str]]:
    """The legends of the curves that a row compares, by axis."""
    return [{axis: spec.label(getattr(side, axis)) for axis in _CURVE} for side in row.sides]


def _line(spec: Spec, number: int, judgement: Judgement, row: Row) -> list[str]:
    """A row of the table: of both sides of a comparison, what tells one from the other."""
    claim, named = judgement.claim, _named(spec, row)
    told = "".join(f" ({named[0][axis]})" for axis in _CURVE if getattr(claim.select, axis) == "*")
    differ = [axis for axis in _CURVE if named[0][axis] != named[-1][axis]]
    sides = (
        ", ".join([*(names[axis] for axis in differ), f"lr {lr}"])
        for names, lr in zip(named, row.lrs, strict=True)
    )
    return [f"{number}. {claim.sentence}{told}", " over ".join(sides), *judgement.cells(row)]


def _reason(spec: Spec, judgement: Judgement, row: Row) -> str:
    claim = judgement.claim
    curves = (
        f"{', '.join(names.values())}, lr {lr}" for names, lr in zip(_named(spec, row), row.lrs, strict=True)
    )
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    quantity = "" if claim.quantity == "risk" else f"{claim.kind} ({claim.quantity}): "
    notes = "".join(f"; {note}" for note in row.verdict.notes)
    return f"{' over '.join(curves)}{unit}: {quantity}{row.verdict.reason}{notes}"


def _count(spec: Spec, judgements: Sequence[Judgement]) -> str:
    rows = sum(len(judgement.rows) for judgement in judgements)
    shared = " (intervals of Monte Carlo verdicts share the 95 %: Bonferroni)" if spec.bonferroni else ""
    surprises = sum(not judgement.as_expected for judgement in judgements)
    return f"claims: {len(judgements)}, rows: {rows}{shared}; {surprises} not as expected"
