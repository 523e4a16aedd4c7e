# `make sweep` and `make test` do all the set-up they need and are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install data sweep test lint clean

install: $(VENV)/.installed

# Torch is asked for by name so that a CPU-only build, which has no matching torchvision, will do.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch --editable '.[jax,dev]'
	@touch $@
