# What people do here. The environment is made on first use, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help demo ladder wheels test test-fast test-all slurm soak lint tensorboard clean
help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo  ## Train the v2 recipe on photos of groceries, one process a GPU or core, 3 minutes on 2 cores
	processes=$$($(BIN)/python -m recipe.sweep.machine 4) && \
		$(BIN)/torchrun --nproc_per_node=$$processes train.py +recipe=v2 scale=demo

RUNGS ?= r00_baseline,r01_lr_optimizations,r02_trivial_augment,r03_long_training
SEEDS ?= 0,1,2,3,4,5,6,7,8,9
TINY := scale=tiny model=resnet18_quarter data.cache=memory
ladder: $(VENV)/.ladder  ## Train 4 rungs with 10 seeds on these photos (RUNGS=all: all 13), and report what helped
	$(BIN)/python train.py -m '+recipe=$(if $(filter all,$(RUNGS)),glob(r*),$(RUNGS))' seed=$(SEEDS) $(TINY)
	$(BIN)/python -m recipe report multirun_outputs

# For this system and Python; on the other machine: pip install --no-index --find-links wheels -e '.[demo,report,fast]'
# setuptools is what an editable installation is built with.
EXTRAS ?= demo,report,fast
wheels:  ## Put what an installation needs into wheels/, for a machine without a network (EXTRAS=dev: for development)
	$(PYTHON) -m pip wheel --disable-pip-version-check --wheel-dir wheels '.[$(EXTRAS)]' 'setuptools>=77'

# GPUS=1: with PyTorch made to report one GPU, GPUS=0: none. What needs a real one asks tests/gpus.py.
PRETENDING = $(if $(GPUS),PRETENDED_GPUS=$(GPUS) PYTHONPATH=$(CURDIR)/tests/pretended$${PYTHONPATH:+:$$PYTHONPATH})
test: $(VENV)/.dev  ## Tests, about 15 minutes on 2 cores
	$(PRETENDING) $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# What most changes touch, without what takes long there: about 190 seconds of one core, so 100 on two.
FAST := tests/data tests/ingredients tests/ladder/comparing tests/ladder/reading tests/training/test_training_step.py \
	tests/test_docs.py tests/test_guesses.py tests/test_randomness.py
LONGER := tests/data/test_loader_memory.py tests/ingredients/test_distributions.py \
	tests/ingredients/test_policies_batched.py tests/ingredients/test_timm_optimizers.py \
	tests/ingredients/test_timm_optimizers_whole.py
test-fast: $(VENV)/.dev  ## What one runs while typing: the parts and their rules, under 2 minutes on 2 cores
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" $(FAST) $(LONGER:%=--ignore=%)

test-all: $(VENV)/.dev  ## Tests, the long ones too
	$(BIN)/pytest -n 2 --dist worksteal

slurm:  ## Install a real Slurm for its tests, which are skipped without: as root, where there is apt-get
	@if command -v slurmctld slurmd sbatch munged >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			slurmctld slurmd slurm-client munge; } || echo "Slurm could not be installed: its tests are skipped"; \
	else echo "Slurm is not installed here: its tests are skipped"; fi

soak: $(VENV)/.dev  ## Kill and resume a run 50 times and compare it with one left alone, about 20 minutes
	$(BIN)/python tests/soak.py

lint: $(VENV)/.dev  ## Style, types and the order of the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

tensorboard: $(VENV)/.demo  ## Curves of all runs, on http://localhost:6006
	$(BIN)/tensorboard --logdir . --host localhost

clean:  ## Remove the environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: EXTRA := demo,report,fast
$(VENV)/.ladder: EXTRA := demo,report,fast
$(VENV)/.dev: EXTRA := dev
$(VENV)/.demo $(VENV)/.ladder $(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "First use: downloads PyTorch with its CUDA libraries and the rest, about 6 GB, into $(VENV). This takes minutes."
	@if command -v uv >/dev/null; then uv venv --quiet --seed --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi
