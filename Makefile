# podpass. `make demo` and `make test` need Python 3.11 or newer, make and the package index; nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
T      ?= tests
K      ?=
AZ     ?= newest
KUBERNETES ?=
AGAIN      ?=
PARTS        ?=
SOAK_MINUTES ?= 30
ROUNDS       ?= 200
FUZZ_SECONDS ?= 30
FUZZ_RUNS    ?= 0
FUZZ_SEED    ?= 0
MODULES      ?=
RULES        ?=

# `make test AGAIN=yes`: what failed last, without others beside it.
PYTEST = $(BIN)/python -m pytest
ALONE  = $(if $(AGAIN),--last-failed --last-failed-no-failures=none -n 0)

.DEFAULT_GOAL := help
.PHONY: help demo tutorial test check fix docs bench test-clients test-tutorial test-az test-peers test-postgres test-selfhost test-kubernetes soak fuzz mutation rules clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "podpass needs Python 3.11 or newer; this is $$($(PYTHON) --version). Name another with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and the Azure SDK into $(VENV) (a minute the first time)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and its test tools into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

# Some interpreters have no atheris; what needs it then says that it is skipped.
$(VENV)/.fuzz: pyproject.toml constraints.txt | $(VENV)/.dev
	@echo "installing what fuzzes and mutates into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[fuzz]' || $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt mutmut
	@touch $@

demo: $(VENV)/.demo ## one token from a pod to a secret, hop by hop
	@$(BIN)/podpass demo

tutorial: $(VENV)/.dev ## the AKS tutorial by the real az and kubectl: AZ=newest, oldest or a version
	@$(BIN)/podpass tutorial --az $(AZ)

test: check ## everything a change must pass: `check`, then all tests that need only Python
	$(PYTEST) -n 3 --dist loadfile $(if $(K),-k '$(K)') $(if $(filter tests,$(T)),--ignore tests/house) $(T) $(ALONE)

check: $(VENV)/.dev ## format, lint, types, layers, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) tests/house

fix: $(VENV)/.dev ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## write the generated pages anew
	$(BIN)/python scripts/docs.py

bench: $(VENV)/.dev ## the numbers, each as a ratio to a peer or a limit of the same run
	$(BIN)/python -m bench

test-clients: $(VENV)/.dev ## released SDKs, old and new, of every language, as pods; prints the client matrix
	$(PYTEST) -m clients tests/clients -rs $(if $(K),-k '$(K)') $(if $(WRITE),--write-matrix '$(WRITE)') $(ALONE)

test-tutorial: $(VENV)/.dev ## the sample images and the tutorial, by the newest and the oldest az
	$(PYTEST) -m tutorial tests/tutorial -rs $(ALONE)

test-az: $(VENV)/.dev ## the released `az`, newest and oldest, on an instance; each in a folder of its own
	$(PYTEST) -m az -n 2 --dist loadfile tests/az -rs $(ALONE)

test-peers: $(VENV)/.dev ## Azure's management SDKs and Graph's on an instance, and schemathesis on its APIs
	$(PYTEST) -m peers tests/peers -rs $(ALONE)

test-postgres: $(VENV)/.dev ## what stores do on SQLite, done on a real PostgreSQL; installs or skips where there is none
	$(PYTEST) -m postgres -n 2 --dist loadfile tests -rs $(if $(K),-k '$(K)') $(ALONE)

test-selfhost: $(VENV)/.dev ## released SDKs that run on while the service's keys, database and replicas change
	$(PYTEST) -m selfhost tests/selfhost -rs $(ALONE)

test-kubernetes: $(VENV)/.dev ## the loop and the contract on a real API server, from KUBEBUILDER_ASSETS or built with Go: KUBERNETES=1.37.2, 1.29.15
	PODPASS_TEST_KUBERNETES='$(KUBERNETES)' $(BIN)/python -m bench.peers
	PODPASS_TEST_KUBERNETES='$(KUBERNETES)' $(PYTEST) -m kubernetes tests -rs $(if $(K),-k '$(K)') $(ALONE)

soak: $(VENV)/.dev ## hours of kill -9, outages, load and floods; PARTS='kill-sqlite mixed', SOAK_MINUTES=30, ROUNDS=200, SEED=n
	$(BIN)/python -m tests.soak $(PARTS) --minutes $(SOAK_MINUTES) --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.fuzz ## bytes guided by coverage on every reader of untrusted input: FUZZ_SECONDS=30 each, FUZZ_RUNS=n, FUZZ_SEED=n, T=target
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then $(BIN)/python scripts/fuzz.py --seconds $(FUZZ_SECONDS) --runs $(FUZZ_RUNS) --seed $(FUZZ_SEED) $(filter-out tests,$(T)); \
	else echo "SKIPPED: fuzzing by coverage needs atheris, which cannot be installed for this Python; make test has the bounded part" >&2; fi

mutation: $(VENV)/.fuzz ## change the exchange line by line, and see which changes no test notices: MODULES='jose match'
	$(BIN)/python scripts/mutation.py $(MODULES)

rules: $(VENV)/.dev ## delete each rule of trust in a copy, and see its tests fail: RULES='word ...'
	$(BIN)/python scripts/rules.py $(RULES)

clean: ## remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
