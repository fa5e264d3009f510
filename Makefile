# `make demo` and `make test` are all a new user needs. Both work in .venv, which is made once
# and again whenever what it is made from changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# This checkout's neighbour holds MNIST for the project's own machines; elsewhere set the variable.
ifneq ($(wildcard ../shared/mnist),)
# Whole, since tests change their folder.
export LENET_DEPLOY_DATA_DIR ?= $(abspath ../shared/mnist)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test trials coverage fuzz soak lint types wheel check overhead bench-peers bench-levels bench-web \
	bench-serve fleet gpu-check test-ray test-triton batch-kills clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lenet-deploy needs Python 3.11 or later; try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[all]' --group dev
	@touch $@

demo: $(VENV)/.ready ## Export, verify, classify real digits, and time: the whole tour
	$(BIN)/lenet-deploy export --format onnx --force
	$(BIN)/lenet-deploy verify artifacts/onnx-fp32
	$(BIN)/lenet-deploy predict --artifact artifacts/onnx-fp32 --digits 6
	$(BIN)/lenet-deploy bench artifacts/onnx-fp32

# Each process begins with a part of the files and helps out at the end: what a file's tests share is
# then made once, and not in every process.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test: $(VENV)/.ready ## Pass the tests, on up to four cores
	$(PYTEST)

trials: $(VENV)/.ready ## Commands and loads where packages, files or streams are missing; as CI does
	$(PYTEST) --override-ini python_files='trial_*.py' tests/trials

coverage: $(VENV)/.ready ## Pass the tests and show what they run; half as long again
	$(PYTEST) --cov --cov-report=term

fuzz: $(VENV)/.ready ## Random cases against the promises, a minute: FUZZ="--seconds 600 --only NAME"
	$(BIN)/python -m tests.fuzz $(FUZZ)

DRAINS ?= 20

soak: $(VENV)/.ready ## Ten minutes of load, reloads, kills and bad clients: SOAK="--seconds 60"
	$(BIN)/lenet-deploy export --format native -o artifacts/soak --force
	$(BIN)/lenet-deploy export --format native --precision int8 -o artifacts/soak --force
	$(BIN)/python tests/trials/drain_trial.py artifacts/soak/native-fp32 --runs $(DRAINS)
	$(BIN)/python tests/trials/drain_trial.py artifacts/soak/native-fp32 --runs $(DRAINS) --workers 2
	$(BIN)/python tests/trials/soak.py artifacts/soak/native-fp32 artifacts/soak/native-int8 $(SOAK)

TRITON_ARTIFACTS := artifacts/triton/native-fp32 artifacts/triton/native-int8

artifacts/triton/native-%: $(VENV)/.ready
	$(BIN)/lenet-deploy export --format native --precision $* -o $(dir $@)

test-triton: $(TRITON_ARTIFACTS) ## Our packages in a real Triton (55 MB, once), and odd requests; a minute
	$(BIN)/python -m tests.serve.differential $< --triton --page
	$(BIN)/python -m tests.trials.triton_trial $^

# Of its own, and without constraints: Ray wants protobuf 7, clients of servers an earlier one.
RAY := .venv-ray
RAY_ARTIFACTS := artifacts/ray/native-fp32 artifacts/ray/native-int8

$(RAY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade pip
	$(RAY)/bin/python -m pip install --quiet --editable '.[ray]' 'ray[data,serve]==2.60.0'
	@touch $@

artifacts/ray/native-%: $(VENV)/.ready
	$(BIN)/lenet-deploy export --format native --precision $* -o artifacts/ray --force

test-ray: $(RAY)/.ready $(RAY_ARTIFACTS) ## A real Ray: kills, updates and jobs, in three minutes
	$(RAY)/bin/python tests/trials/ray_trial.py $(RAY_ARTIFACTS)

batch-kills: $(VENV)/.ready ## Fifty random kills of batch jobs, each resumed and compared
	BATCH_KILLS=50 $(PYTEST) -s --numprocesses 0 --override-ini python_files='trial_*.py' \
		tests/trials/trial_batch_kills.py

lint: $(VENV)/.ready ## Style and likely bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready ## Strict types
	$(BIN)/mypy

wheel: $(VENV)/.ready ## Build dist/*.whl by way of the source distribution
	rm -rf dist
	$(BIN)/python -m build --quiet

check: test trials lint types wheel ## Everything CI does but the clean-environment trial

overhead: $(VENV)/.ready ## Cost of Session.run over bare onnxruntime, and of the import
	$(BIN)/python benchmarks/overhead.py

PEERS := .venv-peers

$(PEERS)/.ready: pyproject.toml constraints.txt benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[all]' --requirement benchmarks/peers/requirements.txt
	@touch $@

bench-peers: $(PEERS)/.ready ## Ours against its peers; the first run takes the better part of an hour
	$(PEERS)/bin/python -m benchmarks.peers --tune

bench-levels: $(VENV)/.ready ## The kernels of each instruction set, side by side
	$(BIN)/python benchmarks/native_levels.py

bench-web: $(VENV)/.ready ## Against onnxruntime-web in Node and Chromium, two minutes; needs npm
	$(BIN)/python -m benchmarks.web

bench-serve: $(VENV)/.ready ## Ours against Triton and other servers, a quarter of an hour: SERVE=--quick
	$(BIN)/python -m benchmarks.serve $(SERVE)

fleet: $(VENV)/.ready ## A simulated fleet: service times here, then the tables of docs/scale.md; ten minutes
	$(BIN)/lenet-deploy export --format native -o artifacts/fleet --force
	$(BIN)/python -m benchmarks.fleet record artifacts/fleet/native-fp32
	$(BIN)/python -m benchmarks.fleet page

# With what $(PYTHON) has: a GPU machine's own PyTorch, no network, nothing installed.
gpu-check: ## Parity and latency of every backend on this machine's GPU, in six minutes
	PYTHONPATH=.:export:runtime:benchmarks:serving$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m benchmarks.gpu_check $(GPU_CHECK)

clean: ## Remove everything that make made
	rm -rf $(VENV) $(RAY) .triton artifacts dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
