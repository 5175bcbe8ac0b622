"""Speed and memory of the engines, side by side in one process with what a user would write instead.

`python -m benchmarks` runs all of it, `python -m benchmarks additive` one; docs/performance.md says what
was found.
"""

import os
import sys

# Threads that spin while they wait slow each other down twentyfold when the machine is shared. OpenMP reads
# this once, when torch loads it. The tutorials' loop over a small network is twice as fast when they spin,
# so it is given that where it is the yardstick.
if not {"networks", "lenet"}.intersection(sys.argv):
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
