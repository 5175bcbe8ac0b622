"""The command line from end to end, its exit codes, and what it says about bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shelling import Shell

import ratelab
from ratelab import terminal
from ratelab.commands import starting
from ratelab.theory.notation import catalogue

FILE = """
title = "tiny"
problems = ["Quadratic(UniformSpectrum(dim=2, condition_number=1.25))"]
schedules = ["InversePower(0.5)", "Constant()"]
lr = [0.5]
lr_unit = "1/L"
horizons = [10_000]
runs = 8
records = 50

[[claims]]
sentence = "c/sqrt(t) gives t^-1/2"
schedule = "InversePower(0.5)"
rate = "t^-1/2"
"""


def write(text: str = FILE, name: str = "tiny.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_from_a_file_to_a_verdict_and_a_figure(shell: Shell) -> None:
    file = write()
    dry = shell("run", file, "--dry-run")
    assert dry.code == 0
    assert "2 of 2 cells to compute" in dry.out
    assert "MiB" in dry.out
    assert not Path("results").exists()
    ran = shell("run", file, "--workers", "1")
    assert (ran.code, Path("results/tiny/manifest.json").exists()) == (0, True)
    assert "wrote results/tiny: 2 cells computed, 0 kept" in ran.out
    assert "0 cells computed, 2 kept" in shell("run", file).out
    status = shell("status", "results/tiny")
    assert "2 of 2 cells computed, 0 failed" in status.out
    for target in ("results/tiny", file):
        verdict = shell("verdict", target)
        assert verdict.code == 0
        assert "supported" in verdict.out
        assert "wrote results/tiny/report.md" in verdict.out
    report = Path("results/tiny/report.md").read_text(encoding="utf-8")
    assert report.startswith("# tiny\n")
    assert "| 1. c/sqrt(t) gives t^-1/2 |" in report
    drawn = shell("figure", "results/tiny")
    assert drawn.code == 0
    names = {path.name for path in Path("results/tiny/figures").iterdir()}
    endings = ("pdf", "png", "csv", "py")
    assert names == {f"{stem}.{ending}" for stem in ("risk-1", "claim-1") for ending in endings}
    before = Path("results/tiny/figures/risk-1.pdf").read_bytes()
    shell("figure", "results/tiny", "--out", "again")
    assert Path("again/risk-1.pdf").read_bytes() == before
    lines = Path("again/risk-1.csv").read_text().splitlines()
    assert lines[0] == "problem,method,schedule,averaging,lr,horizon,t,exact,mean,low,high,bound"
    assert len(lines) > 2 * 40


@pytest.mark.slow
def test_the_full_form_has_a_folder_that_knows_what_it_is(shell: Shell) -> None:
    file = write(FILE + "\n[full]\nruns = 9\n[[full.claims]]\nsentence = 'full'\nschedule = 'Constant()'\n"
                 "rate = 't^0'\n")  # fmt: skip
    assert "wrote results/tiny-full: 2 cells" in shell("run", file, "--full", "--workers", "1").out
    assert json.loads(Path("results/tiny-full/manifest.json").read_text())["spec"]["full"] is True
    assert "2 of 2 cells computed" in shell("status", "results/tiny-full").out
    for arguments in (("results/tiny-full",), (file, "--full")):
        said = shell("verdict", *arguments)
        assert (said.code, "1. full" in said.out, "gives t^-1/2" in said.out) == (0, True, False)
    assert shell("figure", "results/tiny-full").code == 0
    assert "holds no results" in shell("verdict", file).err
    assert "runs: was 9, now 8" in shell("run", file, "--out", "results/tiny-full").err
    next(Path("results/tiny-full/cells").iterdir()).unlink()
    said = shell("verdict", "results/tiny-full")
    command = "ratelab run results/tiny-full/spec.toml --out results/tiny-full --full"
    assert (said.code, command in said.err) == (2, True)
    assert "1 cells computed, 1 kept" in shell(*command.split()[1:], "--workers", "1").out


def test_progress_counts_parts_of_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a line at the end, told once, however often the end is reported."""
    with terminal.progress("cells") as report:
        for done in (0.5, 1.0, 1.996, 2.0, 2):
            report(done, 2)
    assert capsys.readouterr().err == "100 % of 2 cells\n"


def test_exit_codes_of_verdicts(shell: Shell) -> None:
    shell("run", write(), "--workers", "1")
    assert shell("verdict", write(FILE.replace('rate = "t^-1/2"', 'rate = "1/t"'))).code == 1
    refuted = write(FILE.replace('rate = "t^-1/2"', 'rate = "1/t"\nexpect = "refuted"'))
    assert shell("verdict", refuted).code == 0
    undecided = shell("verdict", write(FILE.replace('rate = "t^-1/2"', 'rate = "t^-1/2"\nmargin = 0.4')))
    assert undecided.code == 3
    assert "1 not as expected" in undecided.out


def test_the_example_is_a_good_experiment(shell: Shell) -> None:
    assert "wrote mine.toml" in shell("init", "mine.toml").out
    assert shell("run", "mine.toml", "--dry-run").code == 0
    assert shell("preview", "mine.toml").code == 0
    again = shell("init", "mine.toml")
    assert (again.code, "exists" in again.err) == (2, True)


BAD = {
    "unknown schedule": ("InversePower(0.5)", "InvresePower(0.5)", "InversePower"),
    "unknown key": ("runs = 8", "runs = 8\nrnus = 9", "did you mean runs?"),
    "condition number below 1": ("1.25", "0.5", "condition_number"),
    "negative lr": ("[0.5]", "[-0.5]", "lr[1] = -0.5"),
    "lr without unit": ('lr_unit = "1/L"\n', "", "lr_unit is missing"),
    "horizon 0": ("[10_000]", "[0]", "horizons[1] = 0"),
    "runs 0": ("runs = 8", "runs = 0", "runs = 0"),
    "NaN": ("[0.5]", "[nan]", "lr[1] = nan"),
    "too few records": ("records = 50", "records = 20", "records"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_and_nothing_is_run(shell: Shell, case: str) -> None:
    old, new, part = BAD[case]
    said = shell("run", write(FILE.replace(old, new)))
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert part in said.err
    assert not Path("results").exists()


def test_bad_arguments(shell: Shell) -> None:
    assert "no such" in shell("run", "absent.toml").err.lower()
    write()
    Path("taken").write_text("")
    for arguments in (
        ("run", "absent.toml"),
        ("run", "tiny.toml", "--workers", "0"),
        ("run", "tiny.toml", "--device", "abacus"),
        ("run", "tiny.toml", "--full"),
        ("run", "tiny.toml", "--data", "absent"),
        ("run", "tiny.toml", "--out", "taken"),
        ("run", "tiny.toml", "--import", "absent.py"),
        ("run", "tiny.toml", "--nonsense"),
        ("verdict", "absent"),
        ("status", "absent"),
        ("figure", "absent"),
        ("plot", "absent"),
        ("audit", "absent"),
        ("gallery", "absent"),
        ("list", "absent"),
        ("preview", "Cosnie()"),
        ("preview", "Cosine()", "--horizon", "0"),
        ("preview", "Cosine()", "--lr", "-1"),
        ("preview", "Cosine()", "--out", "picture.bmp"),
        ("nonsense",),
    ):
        assert shell(*arguments).code == 2, arguments


def test_an_unwritable_folder_is_told(shell: Shell, tmp_path: Path) -> None:
    Path("taken").write_text("")
    said = shell("run", write(), "--out", str(tmp_path / "taken" / "results"))
    assert said.code == 2
    assert "cannot write" in said.err
    assert "--out" in said.err


def test_a_changed_file_is_refused_and_update_takes_it_over(shell: Shell) -> None:
    shell("run", write(), "--workers", "1")
    before = {path.name for path in Path("results/tiny/cells").iterdir()}
    changed = write(FILE.replace("runs = 8", "runs = 9"))
    for command in ("run", "verdict"):
        said = shell(command, changed)
        assert said.code == 2
        for part in ("runs: was 8, now 9", "--out NEWDIR", "--update"):
            assert part in said.err
    assert "1 cells computed, 1 kept" in shell("run", changed, "--update", "--workers", "1").out
    assert before <= {path.name for path in Path("results/tiny/cells").iterdir()}
    assert shell("verdict", changed).code == 0


def test_a_file_cut_short_is_told_and_run_again(shell: Shell) -> None:
    file = write()
    shell("run", file, "--workers", "1")
    for path in Path("results/tiny/cells").glob("*.nc"):
        path.write_bytes(path.read_bytes()[:300])
    said = shell("verdict", "results/tiny")
    assert said.code == 2
    assert ".nc is damaged" in said.err
    assert "2 cells computed" in shell("run", file, "--workers", "1").out
    assert "2 damaged files set aside" in shell("status", "results/tiny").out


def test_failed_cells_end_in_4_here_and_in_the_verdict(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from ratelab.experiments import execute

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(execute, "compute", fail)
    ran = shell("run", write(), "--workers", "1")
    assert ran.code == 4
    assert "MemoryError: no room" in ran.err
    assert shell("verdict", "results/tiny").code == 4
    assert "2 failed" in shell("status", "results/tiny").out


def test_an_interruption_ends_in_130_and_a_verdict_waits(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratelab.experiments import execute

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "compute", interrupt)
    said = shell("run", write(), "--workers", "1")
    assert said.code == 130
    assert "0 of 2 cells are kept" in said.err
    waiting = shell("verdict", "results/tiny")
    assert waiting.code == 2
    assert "not computed yet" in waiting.err


def test_an_internal_error_ends_in_70_with_its_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(starting, "captions", broken)
    said = shell("list", "figures")
    assert said.code == 70
    assert "ZeroDivisionError" in said.err


def test_preview_says_what_a_duration_means(shell: Shell) -> None:
    one = shell(
        "preview", "Warmup(Cosine(), length=1)", "--horizon", "40", "--lr", "0.5", "--out", "picture.png"
    )
    assert "Warmup.length: 1 update\n" in one.out
    assert "0.25" in one.out
    assert "wrote picture.png" in one.out
    assert Path("picture.png").stat().st_size > 1000
    assert "100 % of T" in shell("preview", "Warmup(Cosine(), length=1.0)", "--horizon", "40").out


@pytest.mark.slow
def test_import_brings_ones_own_shapes(shell: Shell) -> None:
    Path("my_shapes_for_cli.py").write_text(
        "import numpy as np\nfrom ratelab.theory.notation import value\n\n"
        "@value('schedule')\nclass MyShapeForCli:\n    '''Mine.'''\n\n"
        "    def __call__(self, horizon, /):\n        return np.ones(horizon)\n"
    )
    mine = ("--import", "my_shapes_for_cli.py")
    file = write(FILE.replace("Constant()", "MyShapeForCli()"))
    assert "MyShapeForCli" in shell("list", "schedules", *mine).out
    assert "1 update" not in shell("preview", "MyShapeForCli()", *mine).out
    assert shell("run", file, "--workers", "2", *mine).code == 0
    assert shell("verdict", "results/tiny", *mine).code == 0
    assert json.loads(Path("results/tiny/manifest.json").read_text())["spec"]["imports"]


def test_list_shows_fields_and_descriptions(shell: Shell) -> None:
    out = shell("list").out
    for part in ("InversePower", "timescale=1.0", "LogUniform", "HeavyBall", "Uniform", "figures", "LeNet"):
        assert part in out
    assert "Split(name='mnist'" in shell("list", "data").out


def test_doctor_says_where_we_are_installed(shell: Shell) -> None:
    said = shell("doctor")
    assert said.code == 0
    assert str(Path(ratelab.__file__).parent) in said.out


def test_every_command_has_help_with_an_example(shell: Shell) -> None:
    for command in (
        "init",
        "preview",
        "run",
        "status",
        "verdict",
        "figure",
        "plot",
        "audit",
        "gallery",
        "list",
    ):
        said = shell(command, "--help")
        assert said.code == 0
        assert f"ratelab {command}" in said.out.replace("\n", " ")


def test_preview_needs_no_torch() -> None:
    code = (
        "import sys\nfrom ratelab import main\n"
        "try: main.main(['preview', 'Warmup(Cosine(), length=0.1)'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_a_diverging_run_is_a_result(shell: Shell) -> None:
    """It is refuted, drawn, and takes no other verdict with it: not even a ratio of two infinite risks."""
    text = FILE.replace("lr = [0.5]", "lr = [0.5, 10.0]").replace('tiny"', '[/red] tiny"')
    text = text.replace('rate = "t^-1/2"', 'lr = 0.5\nrate = "t^-1/2"')
    text += '[[claims]]\nsentence = "it decays"\nschedule = "Constant()"\nlr = 10.0\nrate = "1/t"\n'
    text += 'relation = "at_most"\nexpect = "refuted"\n'
    text += '[[claims]]\nsentence = "a ratio"\nschedule = "Constant()"\nlr = 10.0\nvalue = 1.0\n'
    text += 'against = {averaging = "Last()"}\nexpect = "undecided"\n'
    shell("run", write(text), "--workers", "1")
    said = shell("verdict", "results/tiny")
    assert said.code == 0
    assert "[/red] tiny" in said.out
    assert "the risk diverged: infinite at t =" in said.out
    assert shell("figure", "results/tiny").code == 0


def test_nothing_to_do_keeps_the_record_of_what_was_done(shell: Shell) -> None:
    file = write()
    shell("run", file, "--workers", "1")
    before = json.loads(Path("results/tiny/manifest.json").read_text(encoding="utf-8"))
    assert shell("run", file).code == 0
    assert json.loads(Path("results/tiny/manifest.json").read_text(encoding="utf-8")) == before


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"spec": 3, "cells": 4}', '{"spec": {'])
def test_a_damaged_manifest_is_told(shell: Shell, content: str) -> None:
    file = write()
    shell("run", file, "--workers", "1")
    Path("results/tiny/manifest.json").write_text(content, encoding="utf-8")
    said = shell("run", file)
    assert said.code == 2
    assert "manifest.json" in said.err


def test_dry_run_sees_damage_and_changes(shell: Shell) -> None:
    file = write()
    shell("run", file, "--workers", "1")
    for path in Path("results/tiny/cells").glob("*.nc"):
        path.write_bytes(path.read_bytes()[:300])
    assert "2 of 2 cells to compute" in shell("run", file, "--dry-run").out
    assert shell("run", write(FILE.replace("runs = 8", "runs = 9")), "--dry-run").code == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[10_000]", "[10_000_000_000_000]", "horizons"),
        ("runs = 8", "runs = 10_000_000_000", "runs"),
        ('rate = "t^-1/2"', 'rate = "t^-1/2"\ntolerance = 5.0', "tolerance"),
    ],
)
def test_what_would_never_end_or_never_count_is_refused(shell: Shell, old: str, new: str, told: str) -> None:
    said = shell("run", write(FILE.replace(old, new)), "--dry-run")
    assert said.code == 2
    assert told in said.err


def test_a_broken_import_is_told(shell: Shell) -> None:
    said = shell("list", "methods", "--import", write("1 / 0", "boom.py"))
    assert said.code == 2
    assert "boom.py: ZeroDivisionError" in said.err


TRAINER = """
[optimizer_arguments]
learning_rate = 0.0005
lr_scheduler = "cosine_with_restarts"
lr_scheduler_num_cycles = 3
lr_warmup_steps = 23

[network_arguments]
unet_lr = 0.0005
text_encoder_lr = 0.0001

[training_arguments]
max_train_steps = 470
"""


def test_a_schedule_in_other_words(shell: Shell) -> None:
    said = shell("convert", "StepLR(step_size=30, gamma=0.1)", "--lr", "0.1", "--horizon", "90")
    assert said.code == 0
    assert "torch says: Step(gamma=0.1, every=30)" in said.out
    assert "│ step │ 0.1 │ 0.1 │ 0.1 │ 0.1 │ 0.01" in said.out
    assert "decay_steps=30, decay_rate=0.1, staircase=True" in said.out  # keras
    assert "sklearn cannot say it: " in said.out
    one = shell("convert", "Linear()", "--lr", "0.1", "--horizon", "90", "--to", "torch")
    assert "LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=90)" in one.out
    assert "keras" not in one.out
    loop = shell(
        "convert", "ReduceLROnPlateau(patience=4)", "--from", "torch", "--to", "ratelab", "--lr", "1"
    )
    assert "a closed loop" in loop.out
    assert "ReduceLROnPlateau(factor=0.1, patience=4," in loop.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["convert", "Linear()", "--to", "sklearn"], "scikit-learn cannot say"),
        (["convert", "Linear()", "--to", "torhc"], "did you mean torch"),
        (["convert", "Nonsense(3)"], "no dialect reads Nonsense(3)"),
        (["convert", "ReduceLROnPlateau(patience=4)", "--from", "sklearn"], "is not read from scikit-learn"),
        (["convert", "StepLR(step_size='a')", "--from", "torch"], "torch cannot read the arguments"),
        (["convert", "join_schedules(5, 6)", "--from", "optax"], "optax cannot read the arguments"),
        (["convert", "Linear()", "--lr", "-1"], "--lr is -1.0"),
        (["convert", "Linear()", "--horizon", "0"], "--horizon is 0"),
        (["convert", "missing.toml"], "missing.toml: no such file"),
        (["preview", "missing.toml"], "missing.toml: No such file"),
        (["preview", "Linear()", "--images", "3"], "means something to a training file only"),
        (["preview", "Chebyshev(10.0, order='fractal')", "--horizon", "5"], "exists for T = 1, 2, 4"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "reason",
)
def test_what_cannot_be_converted_or_previewed(shell: Shell, arguments: list[str], reason: str) -> None:
    said = shell(*arguments)
    assert said.code == 2
    assert reason in said.err


def test_the_file_of_a_trainer(shell: Shell) -> None:
    file = write(TRAINER, "kohya.toml")
    seen = shell("preview", file, "--out", "rates.png")
    assert seen.code == 0
    assert "unet: Warmup(schedule=CosineRestarts(cycles=3.0" in seen.out
    assert "times lr 0.0001, 470 updates" in seen.out
    assert Path("rates.png").read_bytes().startswith(b"\x89PNG")
    said = shell("convert", file, "--to", "transformers")
    assert 'get_scheduler("cosine_with_restarts"' in said.out
    lost = shell("preview", write(TRAINER.replace("lr_warmup_steps = 23\n", "lr_warmup = 23\n"), "odd.toml"))
    assert "lr_warmup" in lost.out
    assert shell("preview", write("[optimizer_arguments]\n", "empty.toml")).code == 2


def test_every_schedule_is_listed_with_a_drawing(shell: Shell) -> None:
    said = shell("list", "schedules")
    rows = [line.split("│") for line in said.out.splitlines() if line.startswith("│ ") and line[2] != " "]
    drawn = {row[1].partition("(")[0].strip(): row[2].strip() for row in rows}
    known = catalogue("schedule")
    assert set(drawn) == set(known)
    ours = [name for name in drawn if known[name].__module__.startswith("ratelab.theory.")]
    assert [name for name in ours if not drawn[name]] == ["Values"]
    assert "ReduceLROnPlateau" in shell("list", "feedback").out


def test_a_closed_loop_is_previewed_without_its_factor(shell: Shell) -> None:
    said = shell("preview", "ReduceLROnPlateau(schedule=Linear())", "--horizon", "100")
    assert said.code == 0
    assert "a closed loop: these steps, times a factor" in said.out


def test_the_calibration_is_printed_and_written(shell: Shell, tmp_path: Path) -> None:
    said = shell("calibrate", "--cases", "1", "--out", str(tmp_path / "table.md"))
    assert said.code in (0, 1)  # of so few curves one may miss an aim
    assert "smooth breaks, runs" in said.out
    assert "not promised" in said.out
    assert (tmp_path / "table.md").read_text(encoding="utf-8").startswith("| family |")
    for wrong, told in (
        (("--cases", "0"), "--cases is 0; give at least 1"),
        (("--seed", "-1"), "--seed is -1; give at least 0"),
        (("--cases", "1", "--out", str(tmp_path / "no" / "table.md")), "name another file"),
    ):
        refused = shell("calibrate", *wrong)
        assert (refused.code, told in refused.err) == (2, True)


def test_both_sides_of_a_comparison_and_their_lrs_are_named(shell: Shell) -> None:
    """In the table and in the reasons, the tuned and the best as chosen; a misspelt one is refused."""
    Path("pair.toml").write_text(
        FILE.replace(
            'rate = "t^-1/2"', 'lr = "tuned"\nagainst = {schedule = "Constant()", lr = 0.5}\nvalue = 1.0'
        )
        + 'relation = "at_most"\n',
        encoding="utf-8",
    )
    assert shell("run", "pair.toml", "--workers", "1").code == 0
    said = shell("verdict", "pair.toml")
    assert said.code == 0
    assert " (tuned) over Constant(), lr 0.5" in said.out
    report = (Path("results") / "pair" / "report.md").read_text(encoding="utf-8")
    assert "InversePower(0.5), lr " in report
    assert " (tuned) over Constant(), lr 0.5 |" in report
    Path("pair.toml").write_text(FILE.replace("rate =", 'lr = "tunde"\nrate ='), encoding="utf-8")
    refused = shell("run", "pair.toml")
    assert refused.code == 2
    assert 'did you mean "tuned"?' in refused.err
