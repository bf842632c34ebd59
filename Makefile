# Everything is made in this folder: the Python packages in .venv, the demo in prunus-demo.
# Only compiled models go to ~/.cache/prunus, or where PRUNUS_CACHE_DIR says.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test clean tools

help:
	@echo "make demo    train, compress and simulate two small networks; ends with tables and paths"
	@echo "make test    run the linter, the type checker and all tests"
	@echo "make clean   remove what the others have made here"

demo: $(READY)
	$(VENV)/bin/prunus demo

test: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n 2

clean:
	rm -rf $(VENV) prunus-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again only when pyproject.toml changes: the sources themselves are used in place.
$(READY): pyproject.toml | tools
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -e '.[all,test]'
	touch $@

# What pip cannot install, all of it at once.
tools:
	@missing=; \
	command -v $(PYTHON) >/dev/null || missing="$$missing python3"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	for tool in g++ make perl; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "Missing:$$missing. To install:" >&2; \
		echo "  sudo apt-get install$$missing" >&2; \
		exit 3; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; say which: make PYTHON=python3.11" >&2; exit 3; }
