# The commands of the house; `make help` lists them. The first one builds .venv, later ones find it.

PYTHON ?= python3.11
RECIPE ?=
SCALE ?= tiny
TABLE ?= inbol-tiny
BENCH ?=
ARGS ?=
DRY ?=
GPUS ?=
GPU_MEMORY ?=
DATA ?=
SWEEP ?=
RUN ?=
RANKS ?=
LAUNCHER ?=
NODES ?=
HOSTFILE ?=
WAIT ?=
FORMAT ?=
OUT ?=
MODEL ?=
IMAGE ?= inbol-recipes
BASE_IMAGE ?=
CKPT ?=
RISK ?=
BASE ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DEMO := $(VENV)/.installed-demo
# Bytecode of what was installed, on all cores; pip would take one. Some packages hold templates that are no Python: no reason to stop.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
# exec: a TERM that reaches make reaches the launcher, which ends its processes.
LAUNCH := exec $(BIN)/python -m launch
DRY_FLAG := $(if $(filter-out 0 no false,$(DRY)),--dry)

LAUNCH_ARGS := $(if $(LAUNCHER),launcher=$(LAUNCHER)) $(if $(NODES),launcher.nodes=$(NODES)) $(if $(HOSTFILE),launcher.ssh.hostfile=$(HOSTFILE))
WAIT_FLAG := $(if $(filter-out 0 no false,$(WAIT)),--wait)

.DEFAULT_GOAL := help
.PHONY: help train table sweep sweep-report calibrate risk-check demo plan status cancel logs sync test-slurm test-ssh data-check export card recipes doctor bench image test test-docker lint types clean clean-venv

help: ## List every target with one line
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  RECIPE=$(or $(RECIPE),<name>)  SCALE=$(SCALE)  TABLE=$(TABLE)  ARGS=\"dpo.beta=0.2 peft=lora\"  DRY=1  GPUS=8  GPU_MEMORY=80"
	@echo "  LAUNCHER=local|torchrun|ssh|slurm  NODES=2  HOSTFILE=hosts  WAIT=1  RUN=<run folder>"

train: $(INSTALLED) ## Run RECIPE at SCALE to its table; ARGS override anything, DRY=1 only shows the stages, LAUNCHER=slurm submits jobs, LAUNCHER=ssh takes HOSTFILE
	@$(LAUNCH) train --recipe "$(RECIPE)" --scale "$(SCALE)" $(DRY_FLAG) $(WAIT_FLAG) -- $(LAUNCH_ARGS) $(ARGS)

table: $(INSTALLED) ## Run every recipe and seed of TABLE, and report them side by side
	@$(LAUNCH) table --table "$(TABLE)" $(DRY_FLAG) -- $(LAUNCH_ARGS) $(ARGS)

sweep: $(INSTALLED) ## Run RECIPE at every point of SWEEP (conf/sweep/; optuna-*: where Optuna looks), or of ARGS="dpo.beta=0.05,0.1"; on align-val
	@$(LAUNCH) sweep --recipe "$(or $(RECIPE),inbol-dpo)" --sweep "$(SWEEP)" --scale "$(SCALE)" $(DRY_FLAG) -- $(LAUNCH_ARGS) $(ARGS)

sweep-report: $(INSTALLED) ## Table and plot of the sweep RUN (the newest without it), as far as it is
	@$(LAUNCH) sweep-report --run "$(RUN)"

calibrate: $(INSTALLED) ## Choose on align-val from when on the checkpoint CKPT refuses, so that its risk stays below RISK; saved beside it
	@$(LAUNCH) calibrate --checkpoint "$(CKPT)" --risk "$(RISK)" --scale "$(SCALE)" -- $(ARGS)

risk-check: $(INSTALLED) ## Calibrate RECIPE's last system on random halves of align-val and test, and count the promises that are kept
	@$(LAUNCH) risk-check --recipe "$(or $(RECIPE),inbol-dpo)" --scale "$(SCALE)" -- $(ARGS)

demo: $(INSTALLED_DEMO) ## Open a local page that asks the checkpoint, stage or run CKPT (the newest finished run without it) and its base, or BASE
	@$(LAUNCH) demo --checkpoint "$(CKPT)" --base "$(BASE)" -- $(ARGS)

plan: $(INSTALLED) ## Show the stages of RECIPE, and steps, batch and memory on GPUS GPUs of GPU_MEMORY GiB; runs nothing
	@$(LAUNCH) plan --recipe "$(RECIPE)" --scale "$(SCALE)" --gpus "$(GPUS)" --gpu-memory "$(GPU_MEMORY)" -- $(LAUNCH_ARGS) $(ARGS)

status: $(INSTALLED) ## Show the jobs of RUN (the newest submitted one without it): stage, job, state, progress, last loss, log
	@$(LAUNCH) status --run "$(RUN)"

cancel: $(INSTALLED) ## Cancel the jobs of RUN; what is saved stays
	@$(LAUNCH) cancel --run "$(RUN)"

logs: $(INSTALLED) ## Follow what the jobs of RUN write, until they are over
	@$(LAUNCH) logs --run "$(RUN)"

sync: $(INSTALLED) ## Send the offline W&B runs of RUN's stages (the newest run's without it); DRY=1 only lists them
	@$(LAUNCH) sync --run "$(RUN)" $(DRY_FLAG)

data-check: $(INSTALLED) ## Read every sample of the shards DATA (folder, glob, address), say what is wrong and how RANKS would share them
	@$(LAUNCH) data-check --ranks "$(RANKS)" -- "$(DATA)"

export: $(INSTALLED) ## Write the SFT examples and pairs of RUN with their images to OUT, in FORMAT trl, llama-factory, ms-swift or hf
	@$(LAUNCH) export --run "$(RUN)" --format "$(FORMAT)" --out "$(OUT)"

card: $(INSTALLED) ## Write the model cards of RUN; with OUT that model (MODEL=sft, dpo, base; the last one without it) with its card
	@$(LAUNCH) card --run "$(RUN)" --model "$(MODEL)" --out "$(OUT)"

recipes: $(INSTALLED) ## List the recipes
	@$(LAUNCH) recipes

doctor: $(INSTALLED) ## Show what this machine has for a run, and what to do about what is missing
	@$(LAUNCH) doctor

bench: $(INSTALLED) ## Measure against TRL and plain generate; BENCH names cases or families, ARGS="--repetitions 3"
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench $(BENCH) $(ARGS)

image: ## Build the image IMAGE on BASE_IMAGE (NVIDIA's PyTorch without it) with docker, podman or buildah, whichever is there
	@docker/build.sh "$(IMAGE)" "$(BASE_IMAGE)" $(ARGS)

test: $(INSTALLED_DEV) ## Run the tests, files side by side
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile $(ARGS)

test-slurm: $(INSTALLED_DEV) ## Install Slurm (apt, as root), start one of its own on this machine, and run the tests that need it
	@tests/slurm/install.sh && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/slurm $(ARGS)

test-ssh: $(INSTALLED_DEV) ## Install OpenSSH (apt, as root), start two hosts of its own on this machine, and run the tests that need them
	@tests/ssh/install.sh && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ssh tests/ssh $(ARGS)

test-docker: $(INSTALLED_DEV) ## Install buildah and mmdebstrap (apt, as root), build the image on a bootstrapped Debian and run the recipe in it
	@tests/docker/install.sh && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docker tests/docker $(ARGS)

lint: $(INSTALLED_DEV) ## Check style, imports and undefined names, configuration files, shell scripts and Dockerfiles
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/yamllint --strict conf recipes docker .pre-commit-config.yaml && $(BIN)/shellcheck slurm/stage.sbatch tests/slurm/install.sh tests/ssh/install.sh docker/build.sh tests/docker/install.sh .ci/run
	@$(BIN)/hadolint docker/Dockerfile tests/docker/base_with_torch.Dockerfile

types: $(INSTALLED_DEV) ## Check types
	@$(BIN)/mypy

clean: ## Remove caches; runs and .venv stay
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@rm -rf .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info

clean-venv: clean ## Remove .venv too
	@rm -rf $(VENV)

# pip resolves torch to the CPU or the CUDA build as it is set up; constraints.txt fixes the versions.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) was not found; install Python 3.11 or name another with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the package into $(VENV); the first time this downloads PyTorch"
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation -c constraints.txt -e .
	@$(COMPILE)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation -c constraints.txt -e '.[dev]'
	@$(COMPILE)
	@touch $@

$(INSTALLED_DEMO): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt -e '.[demo]'
	@touch $@
