# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
PYTEST_ARGS ?=

.PHONY: demo test test-core lint bench clean
.DELETE_ON_ERROR:

# torch 2.13.0 first: asked for by another package, pip may fetch a CUDA build of gigabytes.
$(VENV)/installed-run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch,openvino,report,vision,coco]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch,openvino,report,vision,coco,mmdet,simplifiers,dev]'
	touch $@

# The main job, then the user's own line on a graph as torch 1.6 exported it, with the useless Pad.
demo: $(VENV)/installed-run
	$(BIN)/graphopt pipeline deepmar --demo -o $(OUT)/deepmar
	$(BIN)/graphopt export deepmar --checkpoint $(OUT)/deepmar/demo/checkpoint.pth.tar --style torch-1.6 -o $(OUT)/torch16 --force
	cp $(OUT)/torch16/model.onnx $(OUT)/deepmar.onnx
	cd $(OUT) && ../$(BIN)/graphopt apply deepmar.onnx --passes remove_pad --force
	@echo "Open $(OUT)/deepmar/report.html"

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 -q $(PYTEST_ARGS)

# The core on another Python, without torch: make test-core PYTHON=python3.13
CORE := .venv-core
test-core:
	rm -rf $(CORE)
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check -e . pytest pytest-xdist hypothesis
	$(CORE)/bin/python -m pytest -n 2 -q -m 'not slow and not torch' tests/core tests/surgery tests/runtime tests/compile $(PYTEST_ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/apply.py --limit 600 --work $(OUT)/bench

clean:
	rm -rf $(VENV) $(CORE) $(OUT)
