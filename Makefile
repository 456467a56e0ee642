# Needs Python 3.11 or 3.12, git and make; everything else is installed into .venv from the lock.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
UV = .venv-uv/bin/uv

.PHONY: install demo demo-servers test test-servers servers dev lint faults browser clean

install: .venv/.installed

.venv/.installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || { echo "Python 3.11 or 3.12 is needed, found $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	@test -x $(UV) || { $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet 'uv>=0.9,<1'; }
	$(UV) sync --frozen --compile-bytecode --python $(PYTHON) --all-groups --extra plot
	@touch $@

demo: install
	.venv/bin/quantlake demo

# The demo on the embedded and on the production profile, with and without kills, compared; DEMO="--without-kills --catalog glue" and so on.
demo-servers: install
	.venv/bin/python -m quantlake_tests.servers.demo $(DEMO)

dev: install
	.venv/bin/quantlake dev

test: install
	.venv/bin/python -m pytest

# Every port's suite over every adapter that can be had here, then what else needs real servers; the matrix is kept as a page.
test-servers: install
	.venv/bin/python -m pytest quantlake_tests/ports -m 'not faults and not browser' --matrix docs/port-matrix.md
	.venv/bin/python -m pytest quantlake_tests --ignore quantlake_tests/ports -m servers

servers: install
	.venv/bin/python -m quantlake_tests.servers

lint: install
	.venv/bin/ruff check quantlake quantlake_tests
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/quantlake contract check --recorded
	$(UV) lock --check

browser: install
	.venv/bin/python -m pytest -m browser

faults: KILLS ?= 100
faults: BROKER ?= tansu
faults: install
	KILLS=$(KILLS) BROKER=$(BROKER) .venv/bin/python -m pytest -m faults

clean:
	rm -rf .venv .venv-uv
