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
READY_DEV := $(VENV)/.ready-dev
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --upgrade \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: setup setup-dev study study-t5 test test-slow test-hosts test-gangs test-gpu demo-hosts check format bench screenshots lock clean

# What studies need; `setup-dev` adds the tools of the tests and checks.
setup: $(READY)

setup-dev: $(READY_DEV)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "orch needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Name another: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)

$(READY_DEV): $(READY) requirements-dev.lock
	$(BIN)/python -m pip install --quiet -r requirements-dev.lock
	@touch $(READY_DEV)

study: $(READY)
	$(BIN)/orch study create bo-vs-guided --size quick

study-t5: $(READY)
	$(BIN)/orch study create t5 --size quick

# Whole files go to two processes, in the order of their names: the long ones are not the last.
test: $(READY_DEV)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: $(READY_DEV)
	$(BIN)/python -m pytest -m slow

# Machines made of network, process and mount namespaces; as root, elsewhere skipped with the reason.
test-hosts: $(READY_DEV)
	$(BIN)/python -m pytest -m hosts -n 2 --dist load tests/hosts

# Trials over several hosts and what befalls them; two rounds at random moments, whose seeds are printed.
test-gangs: $(READY_DEV)
	$(BIN)/python -m pytest -rP -m "hosts and not slow" -n 2 --dist load tests/hosts/test_gangs.py tests/hosts/test_gangs_killed.py

# On a machine with an NVIDIA GPU, in 8 minutes at most; elsewhere skipped with the reason. With
# ORCH_TEST_GPU=off the same bodies run on the CPU.
test-gpu: $(READY_DEV)
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

# The same answer on one host, on two, and on two of which one is killed.
demo-hosts: $(READY_DEV)
	$(BIN)/python -m tests.hosts.demo

check: $(READY_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: $(READY_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY_DEV)
	$(BIN)/python -m benchmarks

# Of the finished quick study in the home; needs an installed Chromium.
screenshots: $(READY_DEV)
	$(BIN)/python docs/screenshots.py $${ORCH_HOME:-orch-data} bo-vs-guided-quick

# Resolve anew with uv (not needed to install). One set of versions for every supported Python; the second lock
# has all pins of the first.
lock:
	$(LOCK) --extra all -o requirements.lock
	$(LOCK) --extra all --extra dev --extra bench --constraint requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
