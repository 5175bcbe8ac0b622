"""Speed and memory of the engines, side by side in one process with what a user would write instead.

`python -m benchmarks` runs all of it, `python -m benchmarks additive` one; docs/performance.md says what
was found.
"""

import os

# Threads that spin while they wait slow each other down twentyfold when the machine is shared. OpenMP reads
# this once, when torch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
