# Needs only Python 3.11+ and make; `make setup` brings the rest into .venv. Plain `make` explains.

PYTHON ?= python3
VENV ?= .venv
PYTHONS ?= python3.11 python3.12 python3.13
JOBS ?= 2
EXTRAS := cluster,dev,embedded,notebooks,opentelemetry,postgres,prometheus,service,sim,tuning

PY := $(VENV)/bin/python
STAMP := $(VENV)/.ftrepo-setup
# Other libraries, to compare with: beside the environment and not in it, which stays as pinned.
PEERS_DIR := build/peers
PEERS_STAMP := $(PEERS_DIR)/.installed
# A file's tests share its fixtures; the notebooks, which take longest, are given out first.
SPREAD := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
CHECKED := .ci benchmarks ftrepo notebooks sim tests

# The build backend is installed apart from the rest, and takes its pins from the environment
# (pip from 25.3 on reads the second name). Relative, because pip splits the value at spaces.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup review test lint format types notebooks conformance mutants crash drill faults lab bench constraints clean

help: ## Print this list
	@echo "ftrepo: everyday commands. The first one to need it makes $(VENV)."
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## Make .venv with every pinned version (PYTHON=python3.12 chooses the interpreter)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"ftrepo needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make $(MAKECMDGOALS) PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) and $$(grep -c == constraints.txt) pinned packages; about a minute the first time."
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --editable '.[$(EXTRAS)]' >$(VENV)/pip.log 2>&1 || { \
		tail -n 20 $(VENV)/pip.log >&2; echo "pip failed; all that it said is in $(VENV)/pip.log" >&2; exit 1; }
	@touch $@
	@echo "$(VENV) is ready."

$(PEERS_STAMP): $(STAMP)
	@rm -rf $(PEERS_DIR) && mkdir -p $(PEERS_DIR)
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"], \
		sep="\n", file=open("$(PEERS_DIR)/requirements.txt", "w"))'
	@$(PY) -m pip install --target $(PEERS_DIR) --requirement $(PEERS_DIR)/requirements.txt >$(PEERS_DIR)/pip.log 2>&1 || { \
		tail -n 20 $(PEERS_DIR)/pip.log >&2; echo "pip failed; all that it said is in $(PEERS_DIR)/pip.log" >&2; exit 1; }
	@touch $@

# With a world (several OUTAGES, and more candidates as POLICY, are separated by spaces), its designs.
REVIEWED = $(or $(SCENARIO),$(if $(OUTAGES)$(TRAFFIC)$(POLICY),fleet))
review: $(STAMP) ## Run the notebooks into a page (SCENARIO=, OUTAGES=, TRAFFIC=: a design review of that; FTREPO_FAST=1: coarse)
	@$(PY) -m sim review $(REVIEWED) $(OUTAGES:%=--outages %) $(TRAFFIC:%=--traffic %) $(POLICY:%=--policy %) \
		$(if $(OUT),--out $(OUT)) $(if $(FTREPO_FAST),--fast)

# The cheap gates come first and all run, so that one failure does not hide the next; pytest closes.
test: $(STAMP) ## Run everything that CI runs: lint, format, types, imports, tests, notebooks
	@failed=; \
	gate() { name=$$1; shift; if out=$$("$$@" 2>&1); then echo "ok      $$name"; \
		else echo "FAILED  $$name"; echo "$$out"; failed="$$failed $$name"; fi; }; \
	gate lint $(PY) -m ruff check --output-format concise $(CHECKED); \
	gate format $(PY) -m ruff format --check $(CHECKED); \
	gate types $(PY) -m mypy; \
	gate imports $(VENV)/bin/lint-imports; \
	FTREPO_FAST=1 $(PY) -m pytest $(SPREAD) --nbmake notebooks tests || failed="$$failed pytest"; \
	if [ -n "$$failed" ]; then echo "make test failed in:$$failed" >&2; exit 1; fi

lint: $(STAMP) ## Check style and import contracts
	@$(PY) -m ruff check --output-format concise $(CHECKED)
	@$(PY) -m ruff format --check $(CHECKED)
	@$(VENV)/bin/lint-imports

format: $(STAMP) ## Format the code, mend what ruff can, strip the notebooks' outputs
	@$(PY) -m ruff check --fix-only $(CHECKED)
	@$(PY) -m ruff format $(CHECKED)
	@$(VENV)/bin/nbstripout notebooks/*.ipynb

types: $(STAMP) ## Check types: mypy, strict on ftrepo and sim
	@$(PY) -m mypy

notebooks: $(STAMP) ## Run every notebook in full, with its assertions
	@$(PY) -m pytest $(SPREAD) --nbmake notebooks

conformance: $(STAMP) $(PEERS_STAMP) ## Hold our breaker and eight others to the same checks, and print the table (WHY=1 says what failed)
	@PYTHONPATH=$(PEERS_DIR) $(PY) -m tests.conformance $(if $(WHY),--why)

mutants: $(STAMP) ## Put faults into ftrepo, one at a time, and print what catches each (ONLY="name name", SEEDS=1000)
	@$(PY) -m tests.mutants $(if $(ONLY),--only $(ONLY)) $(if $(SEEDS),--seeds $(SEEDS)) --workers $(JOBS)

crash: $(STAMP) ## Kill a service with kill -9, 50 times, and look for every key that it had acknowledged
	@$(PY) -m benchmarks.journal_crash

drill: $(STAMP) ## Lose a database twice, restore it, and print recovery time and recovery point
	@$(PY) -m sim drill

faults: $(STAMP) ## Break a real PostgreSQL in every way there is, and print what callers notice
	@$(PY) -m sim faults

lab: $(STAMP) ## Open JupyterLab on the notebooks
	@$(VENV)/bin/jupyter lab notebooks

bench: $(STAMP) $(if $(PEERS),$(PEERS_STAMP)) ## Print the benchmarks and write build/bench.json (ONLY=name for one, PEERS=1 beside other libraries)
	@$(if $(PEERS),PYTHONPATH=$(PEERS_DIR)) $(PY) -m benchmarks $(if $(ONLY),--only $(ONLY))

constraints: $(STAMP) ## Renew constraints.txt with every interpreter in PYTHONS, oldest first
	@$(PY) .ci/constraints.py $(PYTHONS)

clean: ## Remove what the other commands left, .venv included
	@rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
