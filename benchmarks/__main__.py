"""`python -m benchmarks [NAME] …`, names as in `BENCHMARKS`: all of them when none is given."""

import os
import platform
import sys

from rich.console import Console

from benchmarks import additive, exact, gpu, lenet, multiplicative, networks, schedules

BENCHMARKS = {
    "additive": additive.main,
    "multiplicative": multiplicative.main,
    "exact": exact.main,
    "schedules": schedules.main,
    "networks": networks.main,
    "lenet": lenet.main,
    "gpu": gpu.main,
}


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"no benchmark is called {unknown[0]}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    console = Console(width=130)
    console.print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name in names or BENCHMARKS:
        BENCHMARKS[name](console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
