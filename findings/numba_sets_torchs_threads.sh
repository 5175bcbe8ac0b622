#!/usr/bin/env bash
# Numba sets how many threads torch uses: asking numba for its number of threads raises torch's.
#
# numba 0.68.1, torch 2.13.0 (CPU build for x86-64 Linux), Python 3.11, on a machine with several cores.
# With OMP_NUM_THREADS=1 torch uses one thread. numba.get_num_threads(), which reads as a question, starts numba's
# threading layer; where that is OpenMP (no tbb installed), it sets the runtime's number of threads to numba's own,
# NUMBA_NUM_THREADS, and torch, which shares the runtime, goes by that from then on. Small torch operations then wait
# for threads: 25 to 60 times the CPU in the tests of a library that uses both.
# One would have guessed that a getter changes nothing, and that the environment holds for both.
# NUMBA_THREADING_LAYER=workqueue leaves torch alone.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 numba==0.68.1 numpy
cat > "$folder/ask.py" <<'PYTHON'
import numba
import torch

before = torch.get_num_threads()
numba.get_num_threads()
print(before, torch.get_num_threads())
PYTHON
run() { env OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 "$@" "$folder/bin/python" "$folder/ask.py"; }
openmp="$(run env NUMBA_THREADING_LAYER=omp)"
workqueue="$(run env NUMBA_THREADING_LAYER=workqueue)"
echo "torch's threads before and after numba.get_num_threads(): omp $openmp, workqueue $workqueue"
test "$openmp" = "1 2"
test "$workqueue" = "1 1"
echo "as found"
