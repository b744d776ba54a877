# podpass. `make demo` and `make test` need only Python 3.11 or newer, make and access to a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
T      ?= tests
K      ?=
AZ     ?= newest
MIGRATE ?=
KUBERNETES ?=
AGAIN      ?=
PARTS        ?=
SOAK_MINUTES ?= 30
ROUNDS       ?= 200
EXAMPLES     ?= 20
FUZZ_SECONDS ?= 30
FUZZ_RUNS    ?= 0
FUZZ_SEED    ?= 0
MODULES      ?=
RULES        ?=
CHANGED      ?=
RULES_SECONDS ?=
SITE         ?= site

# Without compiled files, each worker of a suite and each process that a test starts compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

# `make test AGAIN=yes` runs the tests that failed in the last run, one at a time.
PYTEST = $(BIN)/python -m pytest
# The folders and files whose tests need PostgreSQL, or a real control plane; tests/suite_policy.py refuses such tests
# elsewhere. Each worker imports all files that it collects. tests/diagnose is last: its webhook stays in the control plane.
STORES   = tests/backup tests/lab/backup tests/database tests/directory tests/exchange/sign_in tests/exchange/signing tests/exchange/test_database_topologies.py tests/lab/services tests/lab/services/vault/test_store.py tests/soak
CLUSTERS = tests/charts tests/control_plane tests/kubernetes_clients tests/lab tests/diagnose
# The files whose tests have the mark `processes`: each worker imports all files that it collects.
PROCESSES = $(shell grep -rl --include='test_*.py' 'mark\.processes' tests | LC_ALL=C sort)
ALONE  = $(if $(AGAIN),--last-failed --last-failed-no-failures=none -n 0)

.DEFAULT_GOAL := help
.PHONY: help demo tutorial test test-kubeling test-kubeling-processes test-podpass check lint house fix docs manifests site bench test-processes test-browser test-clients test-tutorial test-az test-peers test-postgres test-selfhost test-kubernetes test-node test-containers test-kind test-conformance test-suites test-kubeling-peers soak fuzz mutation rules release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-23s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "podpass needs Python 3.11 or newer; this is $$($(PYTHON) --version). Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml kubeling/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and the Azure SDK into $(VENV) (a minute the first time)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e ./kubeling -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml kubeling/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and its test tools into $(VENV) (a minute or two the first time)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e './kubeling[test]' -e '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.release

$(VENV)/.release: pyproject.toml kubeling/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and the tools of a release into $(VENV)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e ./kubeling -e '.[release]'
	@touch $@

$(VENV)/.browser: pyproject.toml kubeling/pyproject.toml constraints.txt | $(VENV)/.dev
	@echo "installing the tools of the browser tests into $(VENV)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e ./kubeling -e '.[browser]'
	@touch $@

# atheris is not available for every interpreter; `make fuzz` then reports that it is skipped.
$(VENV)/.fuzz: pyproject.toml kubeling/pyproject.toml constraints.txt | $(VENV)/.dev
	@echo "installing the tools for fuzzing and mutation tests into $(VENV)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e ./kubeling -e '.[fuzz]' || $(BIN)/python scripts/install.py -c constraints.txt mutmut
	@touch $@

$(VENV)/.docs: pyproject.toml kubeling/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the generator of the documentation site into $(VENV)"
	@$(BIN)/python scripts/install.py -c constraints.txt -e ./kubeling -e '.[docs]'
	@touch $@

# One run of pip for all of these, which builds podpass and resolves its dependencies once; for atheris see above.
$(VENV)/.all: pyproject.toml kubeling/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpass and the tools of all suites into $(VENV)"
	@$(BIN)/python scripts/install.py --no-compile -c constraints.txt -e './kubeling[test]' -e '.[dev,browser,docs,fuzz]' \
	|| $(BIN)/python scripts/install.py --no-compile -c constraints.txt -e './kubeling[test]' -e '.[dev,browser,docs]' mutmut
	@touch $@ $(addprefix $(VENV)/.,demo dev release browser docs fuzz)

demo: $(VENV)/.demo ## exchange one token of a pod for a secret, and show each step
	@$(BIN)/podpass demo

tutorial: $(VENV)/.dev ## run the AKS tutorial with the real az and kubectl: AZ=newest, oldest or a version; MIGRATE=yes for the migration, CONNECT=yes for Service Connector
	@$(BIN)/podpass tutorial --az $(AZ)$(if $(MIGRATE), --migrate)$(if $(CONNECT), --connect)

test: test-kubeling test-podpass ## run `check` and all fast tests that need only Python

test-podpass: check ## run `check` and the fast tests of podpass
	$(PYTEST) -n 4 --dist loadfile $(if $(K),-k '$(K)') $(if $(filter tests,$(T)),--ignore tests/house) $(T) $(ALONE)

test-kubeling: $(VENV)/.dev ## run the fast tests of kubeling
	cd kubeling && ../$(PYTEST) -n 4 --dist loadfile $(if $(K),-k '$(K)') $(ALONE)

test-kubeling-processes: $(VENV)/.dev ## run kubeling's tests of its commands, wheel, pytest plugin and networks of pods
	cd kubeling && ../$(PYTEST) -m processes -n 2 --dist loadfile -rs $(if $(K),-k '$(K)') $(ALONE)

# The linters use one core, so the tests of the house rules run at the same time.
check: $(VENV)/.dev ## check format, lint, types, layers and house rules
	@$(MAKE) --no-print-directory -j 2 lint house

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd kubeling && ../$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cd kubeling && ../$(BIN)/lint-imports --no-cache

house: $(VENV)/.dev
	$(PYTEST) -n 2 tests/house

fix: $(VENV)/.dev ## format, and apply the linter's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## generate the pages that are made from the program
	$(BIN)/python scripts/docs.py

manifests: $(VENV)/.dev ## render the chart into the data of `podpass manifests`; needs Helm or Go
	$(BIN)/python scripts/render_charts.py

site: $(VENV)/.docs ## build the documentation site into site/, offline, and check every link: SITE=folder
	$(BIN)/python scripts/site.py .cache/site-pages
	TMPDIR=$(CURDIR)/.cache NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir $(SITE)

bench: $(VENV)/.dev ## run the benchmarks; each figure is a ratio to a peer or a limit of the same run
	$(BIN)/python -m bench

test-processes: $(VENV)/.dev $(VENV)/.docs ## run tests that start, kill and drain processes, build images or wait for real time
	$(PYTEST) -m 'processes and not (clients or tutorial or az or peers or postgres or selfhost or kubernetes or soak or node or browser or containers or kind or suites or kubeling_peers)' -n 3 --dist loadfile $(PROCESSES) -rs $(if $(K),-k '$(K)') $(ALONE)

test-browser: $(VENV)/.browser ## test the console in a real Chromium; installs it if possible, skips otherwise: WRITE=yes for the screenshots
	$(BIN)/python -m tests.browser.programs
	$(PYTEST) -m browser tests/browser -rs $(if $(K),-k '$(K)') $(if $(WRITE),--write-screenshots docs/images) $(ALONE)

test-clients: $(VENV)/.dev ## test released SDKs of every language, oldest and newest, as pods: WRITE=page for the client matrix
	$(PYTEST) -m clients $(if $(WRITE),,-n 2 --dist loadfile) tests/clients -rs $(if $(K),-k '$(K)') $(if $(WRITE),--write-matrix '$(WRITE)') $(ALONE)

test-tutorial: $(VENV)/.dev ## test the sample images and the tutorial with the newest and the oldest az
	$(PYTEST) -m tutorial tests/tutorial -rs $(ALONE)

test-az: $(VENV)/.dev ## test the released `az`, newest and oldest, on an instance
	$(PYTEST) -m az -n 2 --dist loadfile tests/az -rs $(ALONE)

test-peers: $(VENV)/.dev ## test Azure's management SDKs, Graph's, azwi and kubelogin on an instance, and its APIs with schemathesis
	$(PYTEST) -m peers tests/peers -rs $(ALONE)

test-postgres: $(VENV)/.dev ## run the store's tests on a real PostgreSQL; installs it if possible, skips otherwise
	$(PYTEST) -m postgres -n 2 --dist loadfile $(STORES) -rs $(if $(K),-k '$(K)') $(ALONE)

test-selfhost: $(VENV)/.dev ## test long-running released SDKs while keys, database and replicas of the service change
	$(PYTEST) -m selfhost tests/selfhost -rs $(ALONE)

test-kubernetes: $(VENV)/.dev ## run the journey and the contract tests on a real API server, from KUBEBUILDER_ASSETS or built with Go: KUBERNETES=1.37.2, 1.29.15
	PODPASS_TEST_KUBERNETES='$(KUBERNETES)' $(BIN)/python -m bench.peers
	PODPASS_TEST_KUBERNETES='$(KUBERNETES)' $(PYTEST) -m kubernetes -n 2 --dist loadfile $(CLUSTERS) -rs $(if $(K),-k '$(K)') $(ALONE)

test-node: $(VENV)/.dev ## test the webhook and the sidecar on a real node: kubelet, containerd, kube-proxy and DNS; needs root: K=text
	$(BIN)/python -m tests.node.programs
	$(PYTEST) -m node tests/node -rsP $(if $(K),-k '$(K)') $(ALONE)

test-containers: $(VENV)/.dev ## test image, compose.yaml, Testcontainers and devcontainer with Docker Engine and podman; installs both if possible; needs root
	$(BIN)/python -m tests.containers.programs
	$(PYTEST) -m containers tests/containers -rs $(if $(K),-k '$(K)') $(ALONE)

test-kind: $(VENV)/.dev ## test the guides for kind with kind itself, on a node image that is made here; installs Docker Engine if possible; needs root: K=text
	$(BIN)/python -m tests.kind.programs
	$(PYTEST) -m kind tests/kind -rs $(if $(K),-k '$(K)') $(ALONE)

test-conformance: $(VENV)/.dev ## run Kubernetes' own conformance tests on an instance, 15 minutes; the first run builds them with Go: K=text
	$(BIN)/python -m tests.conformance $(if $(K),--focus '$(K)')

test-suites: $(VENV)/.dev ## run test suites of other projects on an instance (Azure's SDKs, kopf): K=text
	$(PYTEST) -m suites tests/suites -rsP $(if $(K),-k '$(K)') $(ALONE)

test-kubeling-peers: $(VENV)/.dev ## run programs of other projects on kubeling (Helm, kubectl, operators, informers, suites): K=text
	$(BIN)/python -m bench.peers operators
	$(PYTEST) -m kubeling_peers tests/kubeling_peers -rsP $(if $(K),-k '$(K)') $(ALONE)

soak: $(VENV)/.dev ## run kill -9, outages, load, floods and random requests for hours, and all properties with 20 times as many inputs; PARTS='kill-sqlite mixed', SOAK_MINUTES=30, ROUNDS=200, SEED=n, EXAMPLES=20
	$(if $(PARTS),,$(PYTEST) -m soak tests/soak -rs)
	$(if $(PARTS),,PODPASS_EXAMPLES=$(EXAMPLES) $(PYTEST) -m hypothesis -n 2 --timeout 3600 tests --ignore tests/house)
	$(if $(PARTS),,PODPASS_SCHEMATHESIS_EXAMPLES=$${PODPASS_SCHEMATHESIS_EXAMPLES:-30} $(PYTEST) -m peers tests/peers/test_schemathesis.py -rs)
	$(BIN)/python -m tests.soak $(PARTS) --minutes $(SOAK_MINUTES) --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.fuzz ## fuzz every parser of untrusted input, guided by coverage: FUZZ_SECONDS=30 each, FUZZ_RUNS=n, FUZZ_SEED=n, T=target
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then $(BIN)/python scripts/fuzz.py --seconds $(FUZZ_SECONDS) --runs $(FUZZ_RUNS) --seed $(FUZZ_SEED) $(filter-out tests,$(T)); \
	else echo "SKIPPED: coverage-guided fuzzing needs atheris, which is not available for this Python; make test runs the bounded part" >&2; fi

mutation: $(VENV)/.fuzz ## run mutation tests of the exchange: MODULES='jose match'
	$(BIN)/python scripts/mutation.py $(MODULES)

rules: $(VENV)/.dev ## delete each trust rule in a copy, and check that its tests fail: RULES="word ...", CHANGED=hours, RULES_SECONDS=n
	$(BIN)/python scripts/rules.py $(RULES) $(if $(CHANGED),--changed $(CHANGED)) $(if $(RULES_SECONDS),--seconds $(RULES_SECONDS))

# The folder is made from the commit that is checked out. Nothing is sent: `plan` prints what a release publishes.
release: $(VENV)/.release ## build all files of a release into dist/, install and run them, print what would be published: TAG=v1.2.3
	$(BIN)/python scripts/release build $(if $(TAG),--tag $(TAG))
	$(BIN)/python scripts/release verify
	$(BIN)/python scripts/release plan

clean: ## remove the files that the targets have created
	rm -rf $(VENV) site dist .cache .mypy_cache .ruff_cache .pytest_cache
