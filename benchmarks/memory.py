"""Peak memory of an engine at T = 10⁶, in a process of its own: no peer and no earlier benchmark counts."""

import subprocess
import sys
from pathlib import Path


def peak(engine: str, runs: int) -> float:
    """MiB: the largest resident set of a process that imports the engine and runs it once (Linux)."""
    command = [sys.executable, "-m", "benchmarks.memory", engine, str(runs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(engine: str, runs: int) -> None:
    from benchmarks.engines import additive, by_jumps, by_steps

    work = additive(horizon=10**6, runs=runs)
    by_jumps(work) if engine == "jumping" else by_steps(work)
    # ru_maxrss of a child counts what its parent held when it forked; VmHWM is this process alone
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
