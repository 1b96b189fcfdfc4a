# `make` lists what there is. It needs make and python3 (3.11 or newer); the rest comes into .venv.

PYTHON ?= python3
UV ?= uv
COMPONENTS := prometheus prometheus-alertmanager strace logrotate age nodejs npm chromium dockerd=docker.io \
	busybox=busybox-static systemctl=systemd ssh=openssh-client sshd=openssh-server kubectl=kubernetes-client \
	nginx shellcheck yamllint
# Folders with a package-lock.json: what tests need from npm.
PROVIDER := tests/support/provider
CONSOLE := tests/support/console
TSC := $(CONSOLE)/node_modules/.bin/tsc
# What waits for other programs more than it works, and covers little in this process.
BESIDE := tests/console tests/deploy tests/docs tests/demo $(addprefix tests/end_to_end/test_,$(addsuffix .py, \
	ha_pair kill kill_at_records heals watchdog page_hold ack_goes_on notices rotation))
TESTS_BESIDE = $(BIN)/pytest -m "not hammer" -p no:cacheprovider $(BESIDE)

BIN := .venv/bin
# Where Debian puts logrotate; not everybody's shell looks there.
export PATH := $(PATH):/usr/sbin:/sbin
PIP := $(BIN)/python -m pip --quiet --no-input --disable-pip-version-check
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help install demo test check fix docs bench hammer components lock
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

install: .venv/.run ## autoheal with what it needs, at .venv/bin/autoheal

demo: .venv/.run ## kill a small service and watch it being healed; ONCE=1 ends afterwards, PORT=9010 listens there
	@$(BIN)/autoheal demo $(if $(filter 1,$(ONCE)),--once) $(if $(PORT),--port '$(PORT)')

test: .venv/.dev components ## the whole suite with branch coverage; ARGS="…" for pytest
ifdef ARGS
	$(BIN)/pytest -m "not hammer" $(ARGS)
else
	@# Two at a time, about as long as one another.
	@echo '$(TESTS_BESIDE) beside the rest'; \
	$(TESTS_BESIDE) >.venv/tests-beside.log 2>&1 & beside=$$!; trap "kill $$beside" INT TERM; \
	$(BIN)/pytest -m "not hammer" $(addprefix --ignore=,$(BESIDE)) --cov --cov-report=term:skip-covered; rest=$$?; \
	wait $$beside; shown=$$?; cat .venv/tests-beside.log; exit $$((rest || shown))
endif

check: .venv/.dev ## format, lint, types (the console's too), layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -x $(TSC) ] && command -v node >/dev/null; then echo "$(TSC) -p $(CONSOLE)"; $(TSC) -p $(CONSOLE); \
	elif [ "$$CI" = true ]; then echo "the console's types cannot be checked: run make components" >&2; exit 1; \
	else echo "SKIPPED: the console's types; make components installs what checks them" >&2; fi

fix: .venv/.dev ## format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/.dev ## make docs/api.md of autoheal/web/openapi.yaml
	$(BIN)/python -m tests.support.api_page

bench: .venv/.dev ## measure: each of benchmarks/*.py
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

hammer: .venv/.dev components ## the long fault runs
	$(BIN)/pytest -m hammer --timeout=3600 $(ARGS)

lock: ## resolve requirements/*.txt anew from pyproject.toml (needs uv)
	$(LOCK) --upgrade pyproject.toml --extra encryption -o requirements/run.txt
	$(LOCK) --upgrade pyproject.toml --extra encryption --extra apprise --group dev -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) --upgrade requirements/build.in -c requirements/dev.txt -o requirements/build.txt

# The programs that some tests need beside Python, as PROGRAM=PACKAGE where the two differ. Where they cannot be had those
# tests are skipped, and fail in CI.
components:
	@missing=""; for name in $(COMPONENTS); do \
		command -v "$${name%=*}" >/dev/null || missing="$$missing $${name#*=}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$missing"; $(call apt-install,$$missing) \
		|| echo "could not install$$missing: the tests that need them cannot run" >&2; \
	else echo "not installed:$$missing: the tests that need them cannot run" >&2; fi
	@docker compose version >/dev/null 2>&1 || [ -x $(BIN)/docker-compose ] \
	|| { echo "fetching Docker Compose"; tests/support/fetch-compose $(BIN)/docker-compose; } \
	|| echo "could not fetch Docker Compose 2: the tests that need it cannot run" >&2
	@for folder in $(PROVIDER) $(CONSOLE); do \
		if command -v npm >/dev/null && ! [ $$folder/node_modules/.package-lock.json -nt $$folder/package-lock.json ]; then \
		npm ci --prefix $$folder --ignore-scripts --no-audit --no-fund --loglevel=error \
		|| echo "could not install what $$folder names: the tests that need it cannot run" >&2; fi; done

.venv/.dev: .venv/.run requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.run: requirements/run.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "autoheal needs Python 3.11 or newer, as $(PYTHON); name another one with make PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing python3-venv"; $(call apt-install,python3-venv); \
		else false; fi; } || { \
		echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv, then try again" >&2; exit 2; }
	$(PYTHON) -m venv .venv

define apt-install
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	-o DPkg::Lock::Timeout=120 $(1); } </dev/null >/dev/null
endef
