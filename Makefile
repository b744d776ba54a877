# podpass. `make demo` and `make test` need Python 3.11 or newer, make and the package index; nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
T      ?= tests
K      ?=
AZ     ?= newest

.DEFAULT_GOAL := help
.PHONY: help demo tutorial test check fix docs bench test-clients test-tutorial test-az test-peers clean

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

demo: $(VENV)/.demo ## one token from a pod to a secret, hop by hop
	@$(BIN)/podpass demo

tutorial: $(VENV)/.dev ## the AKS tutorial by the real az and kubectl: AZ=newest, oldest or a version
	@$(BIN)/podpass tutorial --az $(AZ)

test: check ## everything a change must pass: `check`, then all tests that need only Python
	$(BIN)/python -m pytest -n 3 --dist loadfile $(if $(K),-k '$(K)') $(if $(filter tests,$(T)),--ignore tests/house) $(T)

check: $(VENV)/.dev ## format, lint, types, layers, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/house

fix: $(VENV)/.dev ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## write the generated pages anew
	$(BIN)/python scripts/docs.py

bench: $(VENV)/.dev ## the numbers, each as a ratio to a peer or a limit of the same run
	$(BIN)/python -m bench

test-clients: $(VENV)/.dev ## released SDKs, old and new, of every language, as pods; prints the client matrix
	$(BIN)/python -m pytest -m clients tests/clients -rs $(if $(K),-k '$(K)') $(if $(WRITE),--write-matrix '$(WRITE)')

test-tutorial: $(VENV)/.dev ## the sample images and the tutorial, by the newest and the oldest az
	$(BIN)/python -m pytest -m tutorial tests/tutorial -rs

test-az: $(VENV)/.dev ## the released `az`, newest and oldest, on an instance; each in a folder of its own
	$(BIN)/python -m pytest -m az -n 2 --dist loadfile tests/az -rs

test-peers: $(VENV)/.dev ## Azure's management SDKs and Graph's on an instance, and schemathesis on its APIs
	$(BIN)/python -m pytest -m peers tests/peers -rs

clean: ## remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
