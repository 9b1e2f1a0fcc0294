# make demo   set up .venv and sample a prompt with the bundled model     make setup   only set up
# make test   set up .venv and run every check                           make clean   remove .venv and caches
# Needs make, a POSIX shell, CPython 3.11-3.13 with venv, about 9 GB of disk; the package index once, then no network.

VENV   := .venv
GEN    := $(VENV)/bin/gen
OUT    := outputs/demo
PROMPT := 63 year old female. PA view. Cardiomegaly.
PINS   := pyproject.toml constraints.txt scripts/setup.sh drr/backends/_stack.c

.PHONY: demo test setup lint format clean

demo: $(VENV)/.ready
	@sh scripts/demo.sh "$(PROMPT)" "$(OUT)"

setup: $(VENV)/.ready

# What the fault handler of pytest writes to stderr belongs into the same log as the name of the test file.
test: $(VENV)/.ready-dev
	@started=$$(date +%s); $(MAKE) --no-print-directory lint && $(VENV)/bin/python -m pytest 2>&1; status=$$?; \
	took=$$(($$(date +%s) - started)); \
	echo "make test: exit status $$status after $$((took / 60)) min $$((took % 60)) s"; exit $$status

lint: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.ready: $(PINS)
	@sh scripts/setup.sh $(VENV) $@

$(VENV)/.ready-dev: $(PINS)
	@sh scripts/setup.sh $(VENV) $@ dev

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
