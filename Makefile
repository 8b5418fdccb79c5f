# One verb per chore. `make study` and `make test` do their own set-up on a fresh machine.
#
# torch: only Bayesian optimization uses it, and a CPU build is enough. To take one from an index of
# yours: make setup TORCH_INDEX=https://…
PYTHON ?= python3
TORCH_INDEX ?=
TEST_PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup study test test-slow check format bench screenshots lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "orch needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Name another: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)

study: $(READY)
	$(BIN)/orch study create bo-vs-guided --size quick

# Whole files go to two processes, in the order of their names: the long ones are not the last.
test: $(READY)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks

# Of the finished quick study in the home; needs an installed Chromium.
screenshots: $(READY)
	$(BIN)/python docs/screenshots.py $${ORCH_HOME:-orch-data} bo-vs-guided-quick

# Resolve anew with uv (not needed to install). One set of versions for every supported Python.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --extra dev --extra bench \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
