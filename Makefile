# make demo   runs the study `digits` and writes its report
# make test   runs the tests
# make lint   checks style and types
# make docs   builds the documentation: docs/_build/html/index.html
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One thread per process: two such processes are faster than one with two threads.
export OMP_NUM_THREADS := 1
# Byte code is kept: the processes that tests start would else each compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test slow kill golden golden-renew lint truth warm-start calibrate docs clean

demo: $(VENV)/.core
	$(BIN)/infoplane run digits

test: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup

# Densities and bounds against the generator whose information is known: fits that take minutes (about 6 minutes in all).
slow: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup -m slow

# A run that is killed at twenty random moments must end as if it had not been (about 3 minutes).
kill: $(VENV)/.test
	$(BIN)/pytest -n 2 -m kill

# Numbers and words of kept runs are as they were (about 3 minutes after `make demo`).
golden: $(VENV)/.test
	$(BIN)/pytest -n 2 -m golden tests/golden

# Keeps what there is now: the commit says why.
golden-renew: $(VENV)/.test
	$(BIN)/python tests/golden/golden.py --renew

lint: $(VENV)/.lint
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check --no-cache src tests benchmarks
	$(BIN)/pyright

# -W: a warning is an error; -E: of any page, also of those that did not change.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -E -a -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

# The bounds against a generator whose information is known (about 10 minutes on two cores).
truth: $(VENV)/.core
	$(BIN)/infoplane run known-truth

# Warm starts against training from scratch (about 20 minutes on two cores).
warm-start: $(VENV)/.core
	$(BIN)/python benchmarks/warm_start.py

# How often intervals cover and tests err, by simulation and over real fits (docs/numbers.md has the output).
calibrate: $(VENV)/.core
	$(BIN)/python -m benchmarks.calibration

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "infoplane needs Python 3.11 or later; $(PYTHON) is older: make PYTHON=python3.11 …" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lint]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) runs build dist docs/_build
