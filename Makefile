# Every target sets up what it needs; a second run does no work twice.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# An editable install warns that it is one.
INSTALL := PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip install --quiet
QUICK := -m "not slow and not study and not conformance"

# The tests start a hundred processes: where this is set, each compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-quick test-studies conformance lint bench figures gallery docs clean

demo: $(READY)
	$(BIN)/ratelab run examples/decay_rates.toml
	$(BIN)/ratelab verdict results/decay_rates
	$(BIN)/ratelab figure results/decay_rates

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not study"

test-quick: $(READY)
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n auto $(QUICK)

test-studies: $(READY) # one after the other, each on all cores
	$(BIN)/python -m pytest -m study

conformance: $(VENV)/.ready-peers
	$(BIN)/python -m pytest -n auto -m conformance

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.ready-peers
	$(BIN)/python -m benchmarks additive multiplicative exact schedules
	$(BIN)/python -m benchmarks networks lenet gpu

figures: $(READY)
	$(BIN)/ratelab figure

gallery: $(READY)
	$(BIN)/ratelab gallery

docs: $(READY)
	$(BIN)/python -m ratelab.paper_figures.house.schedules_page
	$(BIN)/python -m ratelab.paper_figures.house.architecture_page

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "ratelab needs Python 3.11 or later; none found. Name one: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.ready-peers: $(READY)
	$(INSTALL) -c constraints.txt -e '.[dev,peers]'
	$(INSTALL) --no-deps 'timm>=1.0.15' # of timm only its schedulers, not torchvision
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
