# The one task runner. `make demo` and `make test` need git, make and Python 3.11 or newer with its venv module;
# everything else comes from locks/dev.txt, by hash, into .venv.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# One more than the cores of a small machine: many a test waits for a moment.
JOBS ?= 3
ARGS ?=

# Tests start a thousand processes; without bytecode on the disk each would compile the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test storm matrix image-test dist check docs bench bench-quick soak soak-certs fuzz slowhttp lock clean

help:
	@echo 'make demo         a whole mutual-TLS set-up on loopback (ARGS=--once: end when it has proved itself)'
	@echo 'make test         all tests (ARGS="-k reload": some of them; JOBS=4: on more cores)'
	@echo 'make storm        40,000 connects during ten hand-overs in a row, one worker and two (CONNECTS=, HAND_OVERS=)'
	@echo 'make matrix       the scenarios on each event loop and engine, and with two workers'
	@echo 'make image-test   the image built, run and tried; manifests checked strictly (root; Debian: mmdebstrap buildah podman runc)'
	@echo 'make dist         wheel, sdist, one-file build, SBOM, manual pages and completions, into dist/'
	@echo 'make check        format, lint, types, import contracts and cycles, owned tasks'
	@echo 'make docs         remake what in docs/ is made from the code'
	@echo 'make bench        us and the peers, side by side, into docs/performance.md (20 minutes; bench-quick: three)'
	@echo 'make soak         mixed load with a reload every ten seconds; what grows, what fails (MINUTES=3'
	@echo '                  SOAK="--workers 2 --kill-every 60": and one worker killed every minute)'
	@echo 'make soak-certs   renewals of every kind of source, a third of them bad; publishing, killed; issuers, killed, slowed and'
	@echo '                  broken under lifetimes of a minute; a rollover with 20 clients (RENEWALS=1000 KILLS=200 OUTAGE_MINUTES=10)'
	@echo 'make conformance  10,000 mutated requests: what goes upstream, as h11, nginx and haproxy read it (a minute)'
	@echo 'make fuzz         fuzzing guided by coverage (FUZZ_SECONDS=60 a target), then the property tests, for long'
	@echo 'make slowhttp     slowhttptest in its three modes, for fifteen seconds each'
	@echo 'make lock         remake locks/ after a change of pyproject.toml (UPGRADE=1: with the newest releases)'
	@echo 'make clean        remove what these have made'

demo: $(READY)
	@$(BIN)/tlsidecar demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -q --no-header $(ARGS)

storm: $(READY)
	@HAND_OVERS=$(or $(HAND_OVERS),10) CONNECTS=$(or $(CONNECTS),40000) $(BIN)/python -m pytest -n0 -q --no-header \
		-o faulthandler_timeout=0 tests/scenarios/test_a_sidecar_takes_over_from_another.py -k turned_away $(ARGS)

# Every way to serve, one after the other; the first that fails ends it. About three minutes each.
MATRIX := TLSIDECAR_EVENT_LOOP=asyncio TLSIDECAR_EVENT_LOOP=uvloop TLSIDECAR_ENGINE=portable TLSIDECAR_WORKERS=2
matrix: $(READY)
	@for way in $(MATRIX); do echo "matrix: $$way"; \
		env "$$way" $(BIN)/python -m pytest tests/scenarios -n $(JOBS) --dist loadgroup -q --no-header $(ARGS) || exit 1; \
	done

# As root, with Debian's container tools; nothing of it is left behind.
image-test: $(READY) $(VENV)/manifests/.ready
	@IMAGE_TEST=1 $(BIN)/python -m pytest -n0 -q --no-header -o faulthandler_timeout=0 \
		tests/deploy/test_container.py tests/deploy/test_manifests_strictly.py \
		tests/deploy/test_dist.py $(ARGS)

# A validator with dependencies of its own, so in an environment of its own.
$(VENV)/manifests/.ready: locks/manifests.txt | $(READY)
	@rm -rf $(VENV)/manifests && $(BIN)/python -m venv $(VENV)/manifests
	@$(VENV)/manifests/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes \
		--only-binary :all: -r locks/manifests.txt
	@touch $@

# Everything that is given away. The same commit gives the same wheel and sdist.
VERSION = $$($(BIN)/python -c 'import tlsidecar; print(tlsidecar.__version__)')
dist: $(READY)
	@rm -rf dist build && mkdir -p dist/completions
	@SOURCE_DATE_EPOCH=1735689600 $(BIN)/python -m hatchling build -t sdist -t wheel >/dev/null
	@$(PIP) --require-hashes --only-binary :all: --target build/site -r locks/image.txt
	@$(PIP) --no-deps --no-index --target build/site dist/*.whl
	@$(BIN)/python tools/single_file.py build/site dist/tlsidecar.pyz
	@$(BIN)/python tools/sbom.py locks/image.txt "$(VERSION)" >dist/tlsidecar.cdx.json
	@$(BIN)/python tools/man_pages.py dist/man
	@for shell in bash zsh fish; do \
		$(BIN)/tlsidecar completion $$shell >dist/completions/tlsidecar.$$shell || exit 1; done
	@ls -1 dist

check: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python tools/house.py
	@$(BIN)/lint-imports --no-logo >$(VENV)/lint-imports.txt 2>&1 || { cat $(VENV)/lint-imports.txt; exit 1; }
	@echo 'check: format, lint, types and import contract are in order'

docs: $(READY)
	@$(BIN)/python docs/generate.py

bench: $(READY)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(READY)
	@$(BIN)/python -m benchmarks --quick $(ARGS)

MINUTES ?= 3
SOAK ?=
soak: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES) $(SOAK)

RENEWALS ?= 1000
KILLS ?= 200
OUTAGE_MINUTES ?= 10
soak-certs: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m soak.certificates --renewals $(RENEWALS) --kills $(KILLS)
	@PYTHONPATH=tests $(BIN)/python -m soak.outages --minutes $(OUTAGE_MINUTES)
	@ROLLOVER_CLIENTS=20 $(BIN)/python -m pytest -n0 -q -s --no-header --timeout=0 -o faulthandler_timeout=0 \
		tests/scenarios/test_a_ca_is_rolled_over_without_a_failure.py

conformance: $(READY)
	@CONFORMANCE_MESSAGES=$(or $(MESSAGES),10000) $(BIN)/python -m pytest -n0 -q --timeout=0 tests/conformance $(ARGS)

# Guided by coverage first, each target for FUZZ_SECONDS, then the property tests with 20,000 examples each.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= request_head response_head chunked request_stream xfcc_writer pem config http2_frames http2_session http2_service hpack
fuzz: fuzz-guided
	@$(BIN)/python -m pytest -n $(JOBS) -q -m hypothesis --hypothesis-profile=fuzz --timeout=0 -o faulthandler_timeout=0 $(ARGS)

fuzz-guided: $(VENV)/fuzz/.ready
	@cd tests && printf '%s\n' $(FUZZ_TARGETS) | PYTHONPATH=.:../$(VENV)/fuzz xargs -P $(JOBS) -I TARGET sh -c \
		'../$(BIN)/python -W ignore -m fuzz TARGET $(FUZZ_SECONDS) >fuzz/TARGET.log 2>&1 && \
		 echo "TARGET: $$(grep number_of_executed_units fuzz/TARGET.log), nothing found" || \
		 { tail -n 40 fuzz/TARGET.log; echo "TARGET: see tests/fuzz/findings/TARGET"; exit 1; }'

# atheris has no wheel for every Python that the rest runs on, so it is not among what locks/dev.txt names.
$(VENV)/fuzz/.ready: locks/fuzz.txt | $(READY)
	@rm -rf $(VENV)/fuzz && $(PIP) --require-hashes --only-binary :all: --target $(VENV)/fuzz -r locks/fuzz.txt
	@touch $@

# uv resolves once for every platform and Python; it is needed here only, so it lives in a directory of its own.
UV_COMPILE = "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock:
	@$(FIND_PYTHON); tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	"$$python" -m venv "$$tools" && "$$tools/bin/python" -m pip install -qq --disable-pip-version-check uv && \
	$(UV_COMPILE) pyproject.toml locks/build.in --extra fast --extra otel --extra ui --extra yaml --group dev -o locks/dev.txt && \
	$(UV_COMPILE) pyproject.toml --constraint locks/dev.txt -o locks/image.txt && \
	$(UV_COMPILE) locks/build.in --constraint locks/dev.txt -o locks/build.txt && \
	$(UV_COMPILE) locks/fuzz.in -o locks/fuzz.txt && \
	$(UV_COMPILE) locks/manifests.in -o locks/manifests.txt

clean:
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache snapshot_report.html
	@find tlsidecar tui certs tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): locks/dev.txt locks/build.txt pyproject.toml
	@if ! $(BIN)/python -c '' 2>/dev/null; then $(FIND_PYTHON); \
		echo "Installing what locks/dev.txt names into $(VENV), once" >&2; \
		rm -rf $(VENV) && "$$python" -m venv $(VENV) || exit 1; fi
	@$(PIP) --require-hashes --only-binary :all: -r locks/build.txt
	@$(PIP) --require-hashes --only-binary :all: --no-binary forbiddenfruit --use-pep517 --no-build-isolation \
		-r locks/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Sets $python to the first interpreter that is new enough and can make a virtual environment.
define FIND_PYTHON
python=; old=; \
for name in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	if ! "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then continue; fi; \
	old=$$name; \
	if "$$name" -c 'import ensurepip, venv' 2>/dev/null; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ] && [ -n "$$old" ]; then \
	echo "make: $$old has no venv module; install it (Debian: apt-get install python3-venv) or set PYTHON=" >&2; exit 1; \
elif [ -z "$$python" ]; then \
	echo "make: Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv), or set PYTHON=" >&2; exit 1; \
fi
endef
