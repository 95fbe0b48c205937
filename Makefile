# Everything runs from an environment of its own, made on first use:
#
#   make demo    cart-pole, end to end            make check   formatting, lint, types
#   make test    the tests                        make bench   the figures, as JSON
#   make venv    only the environment             make clean   remove caches and builds
#
# PYTHON=python3.11 chooses the interpreter, TEST="-k data" narrows the tests.

PYTHON ?= python3
TEST ?=

VENV := .venv
BIN := $(VENV)/bin
ALL := $(VENV)/.installed-all
DEMO := $(VENV)/.installed-demo

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
PIP := $(BIN)/python -m pip -qq --no-input  # errors only

.DELETE_ON_ERROR:
.PHONY: demo test check bench venv clean

demo: $(DEMO)
	@$(BIN)/hybridmodel demo cartpole

test: $(ALL)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(TEST)

check: $(ALL)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright

bench: $(ALL)
	@$(BIN)/python -m benchmarks.spine --json benchmarks/results/spine.json
	@$(BIN)/python -m benchmarks.bridges --json benchmarks/results/bridges.json
	@$(BIN)/python -m benchmarks.physics --json benchmarks/results/physics.json
	@$(BIN)/python -m benchmarks.learning --json benchmarks/results/learning.json
	@$(BIN)/python -m benchmarks.kernel --json benchmarks/results/kernel.json
	@$(BIN)/python -m benchmarks.planners --json benchmarks/results/planners.json
	@$(BIN)/python -m benchmarks.rl --json benchmarks/results/rl.json
	@$(BIN)/python -m benchmarks.studies --json benchmarks/results/studies.json

venv: $(ALL)

clean:
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hybridmodel needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# a stamp is older than what it was made from, or the installation is up to date
$(ALL): EXTRAS := all
$(DEMO): EXTRAS := sim,report
$(ALL) $(DEMO): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (a few minutes the first time) …"
	@$(PIP) install hatchling
	@$(PIP) install --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@
