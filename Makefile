# Two commands work in a fresh clone that has python3 (3.11 or newer), a C++ compiler and make:
#     make mnist    trains a small CNN on MNIST, which ships with the package
#     make test     checks style and types, and runs the tests
# The first one also sets up: it downloads packages and compiles the kernels, which takes some
# minutes, and shows its progress. Environments are made once (and again when pyproject.toml
# changes), and only kernels whose sources have changed are compiled again.

PYTHON ?= python3
ARGS ?=
VENV := .venv
PARITY := .venv-parity
PY := $(VENV)/bin/python
PIP := -m pip install --disable-pip-version-check
# Prints lists of requirements from pyproject.toml, where alone they stand, as lines for pip.
REQUIRED := -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	lists = {"build": p["build-system"]["requires"], "run": p["project"]["dependencies"], \
	**p["project"]["optional-dependencies"]}; \
	print(*(line for name in sys.argv[1:] for line in lists[name]), sep="\n")'
HEADERS = $(shell find minidl_ext -name "*.h" -o -name "*.hpp")
NO_PACKAGES = echo "minidl: pip could not install what $@ needs (its message is above); \
	with a working package index, the same command continues from here" >&2; exit 1

.PHONY: build help mnist cifar10 test quick lint format bench versus-torch inference parity levels fuzz sanitize nightly arm64 wheel sdist docs site check clean distclean
.DEFAULT_GOAL := build

build: $(VENV)/.tools  ## compile the kernels for this machine (the default)
	@$(PY) setup.py -q build_ext --inplace

help:  ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf 'make %-13s %s\n' "$$name" "$$text"; done

mnist: $(VENV)/.plot build  ## train the CNN on MNIST; options as in ARGS="--epochs 12"
	@$(PY) examples/mnist.py $(ARGS)

cifar10: $(VENV)/.plot build  ## train ResNet-20 on CIFAR-10; options as in ARGS="--data FOLDER"
	@$(PY) examples/cifar10.py $(ARGS)

test: $(VENV)/.test build  ## check style and types, and run the tests
	@echo "minidl: ruff"
	@$(PY) -m ruff check .
	@echo "minidl: mypy"
	@$(PY) -m mypy
	@echo "minidl: pytest"
	@$(PY) -m pytest --ignore=tests/parity $(ARGS)

# docs/testing.md says which tests these are.
quick: $(VENV)/.test build  ## check style and run a sample of the tests, in less than a minute
	@$(PY) -m ruff check --quiet .
	@$(PY) -m pytest --quick --quiet --failed-first --ignore=tests/parity $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint  ## check style, types and layout as for a commit, changing nothing
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet --diff .
	@$(VENV)/bin/clang-format --dry-run -Werror $(HEADERS)
	@PATH="$(VENV)/bin:$$PATH" cython-lint minidl_ext      # calls pycodestyle
	@$(PY) -m mypy

format: $(VENV)/.lint  ## format Python and the headers of the kernels
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format --quiet .
	@$(VENV)/bin/clang-format -i $(HEADERS)

bench: $(VENV)/.plot build  ## measure against NumPy; options in ARGS
	@$(PY) -m benchmarks $(ARGS)

versus-torch: $(PARITY)/.tools build  ## measure train steps against PyTorch; options in ARGS
	@$(PARITY)/bin/python -m benchmarks.versus_torch $(ARGS)

inference: $(PARITY)/.runtimes build  ## measure inference against other runtimes; options in ARGS
	@$(PARITY)/bin/python -m benchmarks.inference $(ARGS)

parity: $(PARITY)/.tools build  ## compare layers and training with PyTorch, in its own environment
	@$(PARITY)/bin/python -m pytest tests/parity $(ARGS)

# `make test` tests the best level. The others (MINIDL_BUILD_ISA=all builds them) are tested here.
levels: $(VENV)/.test build  ## run the kernel tests on every instruction set that is built
	@for isa in $$($(PY) -c 'import minidl_ext as m; print(*set(m.AVAILABLE) & set(m.SUPPORTED))'); \
		do echo "minidl: kernel tests on $$isa"; MINIDL_ISA=$$isa $(PY) -m pytest -q \
		tests/minidl_ext tests/kernels $(ARGS) || exit 1; done

# docs/testing.md explains findings, seeds and totals.
fuzz: $(VENV)/.test build  ## look for crashes and wrong numbers with random cases; ARGS="--minutes 60"
	@$(PY) -m fuzz $(ARGS)

docs: $(VENV)/.test build  ## write the parts of docs/ that are made from docstrings, tests and errors
	@$(PY) -m tools.api_reference
	@$(PY) -m tools.coming_from
	@$(PY) -m tools.coverage_table

site: $(VENV)/.site build  ## build the documentation's site, build/site/index.html
	@$(PY) -m tools.build_site $(ARGS)

sanitize: $(VENV)/.test  ## run the kernel tests with checks of memory and undefined behaviour (GCC, Linux)
	@$(PY) -m tools.sanitize $(ARGS)

MINUTES ?= 60
nightly:  ## run sanitizers, all levels, ARM64, and fuzzers for an hour each; MINUTES=10
	@bash .ci/nightly $(MINUTES)

arm64: $(VENV)/.tools  ## run the kernel tests on an emulated ARM64 (Debian, Ubuntu); ARGS="tests/..."
	@$(PY) -m tools.arm64 $(ARGS)

wheel: $(VENV)/.wheel  ## make dist/*.whl for every instruction set; ARGS=--try installs and runs it
	@$(PY) -m tools.wheel $(ARGS)

sdist: $(VENV)/.tools  ## make dist/*.tar.gz
	@$(PY) -W ignore setup.py -q sdist

clean:  ## remove what was built
	@rm -rf build dist minidl.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find minidl_ext -name '*.so' -delete
	@find minidl minidl_ext tests examples benchmarks fuzz tools -name __pycache__ -prune \
		-exec rm -rf {} + 2>/dev/null || true
	@find minidl_ext -mindepth 1 -type d -empty -delete

distclean: clean  ## remove the environments as well
	@rm -rf $(VENV) $(PARITY)

check:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "minidl: '$(PYTHON)' was not found; install Python 3.11 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); \
		old and sys.exit("minidl: Python 3.11 or newer is needed, but $(PYTHON) is " \
		+ sys.version.split()[0] + "; set PYTHON= to a newer one")'
	@$(PYTHON) -c 'import os, shutil, subprocess, sys, sysconfig as s; \
		cc = (os.environ.get("CC") or s.get_config_var("CC") or "cc").split()[0]; \
		works = shutil.which(cc) and not subprocess.run([cc, "-x", "c++", "-fsyntax-only", "-"], \
		input=b"", capture_output=True).returncode; \
		works or sys.exit("minidl: no C++ compiler: " + cc + " was not found, or does not compile C++; " \
		"install g++ or clang (on Debian: apt-get install g++), or set CC")'

# These rules make the environments. Kernels are compiled before the package is installed in place,
# since pip would compile them without showing progress; it then finds them ready.
$(VENV)/.plot $(VENV)/.test $(VENV)/.site: $(VENV)/.%: $(VENV)/.tools | build
	@echo "minidl: installing into $(VENV) with the extra '$*'"
	@$(PY) $(PIP) --no-build-isolation --editable '.[$*]' || { $(NO_PACKAGES); }
	@touch $@

# ONNX Runtime and OpenVINO are installed into PyTorch's environment, for comparisons with them.
$(PARITY)/.runtimes: $(PARITY)/.tools
	@$(PARITY)/bin/python $(REQUIRED) runtimes > $@.txt
	@$(PARITY)/bin/python $(PIP) -r $@.txt || { $(NO_PACKAGES); }
	@touch $@

# PyTorch gets an environment of its own, where the package is used straight from this folder.
$(VENV)/.tools: PACKAGES := build
$(VENV)/.tools: WHAT := NumPy and the tools of the build, some 30 MB
$(VENV)/.lint: PACKAGES := build lint
$(VENV)/.lint: WHAT := programs that check style and layout
$(VENV)/.wheel: PACKAGES := build wheel
$(VENV)/.wheel: WHAT := auditwheel
$(PARITY)/.tools: PACKAGES := run parity
$(PARITY)/.tools: WHAT := PyTorch, 200 MB or more
$(VENV)/.tools $(VENV)/.lint $(VENV)/.wheel $(PARITY)/.tools: pyproject.toml
	@$(MAKE) --no-print-directory check
	@echo "minidl: setting up $(@D), once: $(WHAT)"
	@{ $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip --version >/dev/null; } || { echo "minidl: \
	python's venv module does not work (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(@D)/bin/python $(REQUIRED) $(PACKAGES) > $@.txt
	@$(@D)/bin/python $(PIP) -r $@.txt || { $(NO_PACKAGES); }
	@touch $@
