# `make sweep` and `make test` do all the set-up they need and are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCHVISION_VENV := .venv-torchvision
TORCHVISION_BIN := $(TORCHVISION_VENV)/bin
TPU_VENV := .venv-tpu
TPU_BIN := $(TPU_VENV)/bin
PUBLISHED_VENV := .venv-published
PUBLISHED_BIN := $(PUBLISHED_VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check
# Threads of a BLAS that wait for each other by spinning make the suite slow wherever something else wants a core.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: install data sweep check bench bench-pairs lab-sweep self-test honest-seeds unseen-faults pair-faults published-pairs compare-cost survive-kills fuzz browser tpu docs release test lint test-main test-torchvision test-tpu clean

install: $(VENV)/.installed

# Torch is asked for by name, not by its extra: a CPU-only build has no torchvision that matches it.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "setting up $(VENV): a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --constraint constraints.txt torch --editable '.[jax,dask,parquet,dev,docs]'
	@touch $@

# A Torch and a torchvision that match, without JAX: for the real download code, and for Torch on its own.
# Two installs, so that the two pins of Torch never meet.
$(TORCHVISION_VENV)/.installed: pyproject.toml constraints.txt constraints-torchvision.txt
	@echo "setting up $(TORCHVISION_VENV): some minutes and GB, for the test of the real download"
	$(PYTHON) -m venv $(TORCHVISION_VENV)
	$(TORCHVISION_BIN)/python $(PIP) --constraint constraints.txt --editable . pytest pytest-timeout hypothesis
	$(TORCHVISION_BIN)/python $(PIP) --constraint constraints-torchvision.txt torch torchvision
	@touch $@

# JAX with the compiler of a TPU, which needs no TPU: 700 MB, and so an environment of its own.
$(TPU_VENV)/.installed: pyproject.toml constraints.txt constraints-tpu.txt
	@echo "setting up $(TPU_VENV): a minute and a GB, for the compiler of a TPU"
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_BIN)/python $(PIP) --constraint constraints.txt --constraint constraints-tpu.txt \
		--editable '.[tpu]' pytest pytest-timeout
	@touch $@

# The published ports that `make published-pairs` compares: transformers of the last version with Flax, and others.
$(PUBLISHED_VENV)/.installed: pyproject.toml constraints.txt constraints-published.txt
	@echo "setting up $(PUBLISHED_VENV): some minutes and GB, for the published ports"
	$(PYTHON) -m venv $(PUBLISHED_VENV)
	$(PUBLISHED_BIN)/python $(PIP) --constraint constraints.txt --constraint constraints-published.txt \
		torch --editable '.[jax]' equinox transformers torch2jax torchax
	@touch $@

data: install
	@sh scripts/get_data.sh $(BIN)/bnparity $(VENV)/dataset

sweep: data
	@$(BIN)/bnparity sweep --preset quick --framework both --dataset $$(cat $(VENV)/dataset) \
		--out runs/quick-$$(cat $(VENV)/dataset)

check: install
	$(BIN)/bnparity check --preset ci

# What the tables of speed in docs/ are made of: some five minutes on two cores, and for the second twenty.
bench: install
	@mkdir -p runs
	$(BIN)/bnparity bench --preset quick --json benchmarks/bench.json --html runs/bench.html

# What the compiler of a TPU says of the networks' programs, without a TPU: five minutes.
tpu: $(TPU_VENV)/.installed
	@mkdir -p runs
	$(TPU_BIN)/bnparity bench --compile-for v5e --json benchmarks/tpu_v5e.json --html runs/tpu_v5e.html

# The two models of each example, in turns: some three minutes.
bench-pairs: install
	@mkdir -p runs
	for pair in cnn encoder mlp; do \
		$(BIN)/bnparity bench --pair examples/compare_$$pair.py --batch-sizes 8 64 256 \
			--json benchmarks/bench_$$pair.json --html runs/bench_$$pair.html || exit; \
	done

lab-sweep: data
	$(BIN)/python benchmarks/lab_sweep.py --framework jax --out benchmarks/lab_sweep_jax.json
	$(BIN)/python benchmarks/lab_sweep.py --framework torch --out benchmarks/lab_sweep_torch.json

# The checker, checked: minutes. The first writes a table of docs/, the second what the safety factor rests on.
self-test: install
	$(BIN)/bnparity check --self-test --depths 1 3 8 --json benchmarks/self_test.json

survive-kills: install
	$(BIN)/python benchmarks/survive_kills.py --framework jax --kills 100 --out benchmarks/survive_kills_jax.json
	$(BIN)/python benchmarks/survive_kills.py --framework torch --kills 100 --out benchmarks/survive_kills_torch.json

honest-seeds: install
	$(ONE_THREAD) $(BIN)/python benchmarks/honest_seeds.py --seeds 1000 --out benchmarks/honest_seeds.json

# Ports that the check has not seen, honest and faulty: about an hour on two cores. `--only PATTERN` runs some of them,
# `--resume` those that the file has no row of.
unseen-faults: install
	$(ONE_THREAD) $(BIN)/python benchmarks/unseen_faults.py --out benchmarks/unseen_faults.json

# Honest pairs of every kind of model at 25 seeds, and the faults planted in them: an hour on two cores. What is
# compiled for one seed serves the others too.
pair-faults: install
	cache=$$(mktemp -d) && JAX_COMPILATION_CACHE_DIR=$$cache JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1 \
		$(BIN)/bnparity compare --self-test --seeds 25 --json benchmarks/pair_faults.json; \
		status=$$?; rm -r $$cache; exit $$status

# Published ports beside their PyTorch models, and what differs: about an hour on two cores, and nothing is downloaded
# but the packages. `--only PATTERN` runs some of them, `--resume` those that the file has no row of.
published-pairs: $(PUBLISHED_VENV)/.installed
	$(ONE_THREAD) $(PUBLISHED_BIN)/python benchmarks/published_pairs.py --out benchmarks/published_pairs.json

# What a comparison of two models costs: seconds, draws against steps, memory against a trace.
compare-cost: install
	$(BIN)/python benchmarks/compare_cost.py --out benchmarks/compare_cost.json

# Hostile input at length: more than 100,000 cases in some ten minutes on two cores. The suite has a sample of them.
fuzz: install
	$(ONE_THREAD) $(BIN)/python benchmarks/fuzz.py --out benchmarks/fuzz.json

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Set up side by side, since most of it is waiting. The main suite comes last, so that its summary closes the output.
test:
	@$(MAKE) --no-print-directory --jobs 4 lint docs browser $(TORCHVISION_VENV)/.installed $(TPU_VENV)/.installed
	@$(MAKE) --no-print-directory --jobs 2 test-torchvision test-tpu
	@$(MAKE) --no-print-directory test-main

# A warning is an error. The pages of the site lie in runs/docs.
docs: install
	@$(ONE_THREAD) $(BIN)/sphinx-build -W --keep-going --quiet docs runs/docs
	@echo "documentation: runs/docs/index.html"

# What is published: a wheel and a source archive, and both are tried in an environment that has nothing else.
release: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python scripts/check_release.py dist

# The tests open every page in it.
browser: data
	@sh scripts/get_browser.sh

test-main: browser
	$(ONE_THREAD) $(BIN)/python -m pytest --numprocesses 2 -m "not torchvision and not tpu"

test-torchvision: data $(TORCHVISION_VENV)/.installed
	$(ONE_THREAD) $(TORCHVISION_BIN)/python -m pytest tests/parity/data tests/bntorch

# The compiler works for the most part with one thread.
test-tpu: $(TPU_VENV)/.installed
	$(TPU_BIN)/python -m pytest tests/tpu

clean:
	rm -rf $(VENV) $(TORCHVISION_VENV) $(TPU_VENV) $(PUBLISHED_VENV) runs
