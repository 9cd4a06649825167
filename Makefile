# A fresh machine needs make and a Python that can make virtual environments; the rest is installed into .venv.
VENV := .venv
BIN := $(VENV)/bin
PYTHONS := python3.13 python3.12 python3.11 python3
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
OUT ?= demo

# On Linux the package index's PyTorch brings 5 GB of CUDA libraries; PyTorch's own index has a build without them.
PYTHON := $(BIN)/python
TORCH := $(shell sed -n 's/^ *"\(torch>[^"]*\)",$$/\1/p' pyproject.toml)
CPU_INDEX := https://download.pytorch.org/whl/cpu

.DELETE_ON_ERROR:
.PHONY: demo test lint cpu-torch clean

demo: $(VENV)/.installed
	$(BIN)/limbeck demo --out "$(OUT)"

test: $(VENV)/.installed
	$(BIN)/pytest -q -n 2

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The stamp makes every later call instant; a .venv that already holds a suitable Python is kept.
$(VENV)/.installed: pyproject.toml
	@"$(BIN)/python" -c '$(SUITABLE)' 2>/dev/null && "$(BIN)/python" -m pip --version >/dev/null 2>&1 && exit 0; \
	for python in $(PYTHONS); do \
	  "$$python" -c '$(SUITABLE)' 2>/dev/null && "$$python" -m venv --clear $(VENV) && exit 0; \
	done; \
	echo "limbeck needs Python 3.11, 3.12 or 3.13 with its venv module, and none of $(PYTHONS) is one: install it (Debian, Ubuntu: python3-venv)." >&2; \
	exit 1
	@echo "Installing limbeck and PyTorch into $(VENV), once ..."
	@$(MAKE) --no-print-directory cpu-torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,dev]'
	@touch $@

# PyTorch without CUDA into $(PYTHON), where no NVIDIA driver is and the CPU index answers within seconds; else
# nothing: what is installed next then takes PyTorch from the package index.
cpu-torch:
	@test "$$(uname -s)" = Linux && ! command -v nvidia-smi >/dev/null && "$(PYTHON)" -m pip install --quiet \
	  --disable-pip-version-check --no-deps --retries 0 --timeout 10 --index-url $(CPU_INDEX) "$(TORCH)" >/dev/null 2>&1 || true

# What make and the tools wrote; .venv stays (remove it by hand to install afresh).
clean:
	rm -rf demo runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
