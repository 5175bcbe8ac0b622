"""The command line as tests call it: in this process, with what it prints caught."""

from dataclasses import dataclass

import pytest

from ratelab import main


@dataclass(frozen=True)
class Said:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


class Shell:
    """`ratelab` called in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        with pytest.raises(SystemExit) as exited:
            main.main(arguments)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err or exited.value.code == 70
        return Said(int(exited.value.code or 0), out, err)
