# The daily commands. Each makes .venv first, from the pins in envs/, if it is not there.
# ARGS passes options on: make preview ARGS="--configfile my.yaml"; and PIP_ARGS those of pip install.

PYTHON ?= python3
# Three more than the two cores of CI: tests on SLURM wait for it most of the time. A worker that has nothing to
# do takes tests of another.
TEST_WORKERS ?= 5
PYTEST = .venv/bin/pytest -n $(TEST_WORKERS) --dist worksteal
SNAKEMAKE = .venv/bin/snakemake --profile profiles/local

# Print tables; with ARGS a call may have made none, or others.
show = $(if $(ARGS),,@cat $(foreach table,$(1),results/tables/$(table).md))

.PHONY: help run part-b reproduce reproduction gpu-check gpu-studies preview pages page report design plan status watch tensorboard mlflow check format schema lock \
        test test-all test-fast test-workflow test-slurm test-slurm-matrix package-lists slurm-packages browser-package tex-packages \
        chaos slurm-up slurm-down audit

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { printf "%-20s %s\n", $$1, $$2 }' Makefile
	@echo 'ARGS passes options on, such as: make status ARGS="--configfile my.yaml"'

run: .venv/installed ## the quickstart: small studies, to their final tables
	$(SNAKEMAKE) --configfile config/quickstart.yaml $(ARGS)
	$(call show,forests part_a part_a_effects part_b question_2)

part-b: .venv/installed ## the published part B on the real images
	$(SNAKEMAKE) --config 'studies=[part_b]' $(ARGS)
	$(call show,part_b part_b_vs_published)

reproduce: .venv/installed ## train the published studies at low priority, part A last; it resumes
	nice -n 19 .venv/bin/python docs/reproduction/reproduce.py train $(ARGS)

reproduction: .venv/installed ## tables and figures of the published studies from the records in docs/reproduction/
	.venv/bin/python docs/reproduction/reproduce.py tables $(ARGS)
	.venv/bin/python docs/reproduction/reproduce.py figures $(ARGS)

gpu-check: .venv/installed ## what holds of the engine on this machine's GPU; ARGS="--source-dir DIR"
	.venv/bin/python benchmarks/gpu.py --out results/gpu-check $(ARGS)

gpu-studies: .venv/installed ## train the published networks on one GPU, eight at a time; ARGS="--source-dir DIR"
	.venv/bin/python docs/reproduction/on_gpu.py $(ARGS)

preview: .venv/installed ## tables and figures of the completed runs of config/config.yaml
	$(SNAKEMAKE) --nolock $(ARGS) -- preview

pages: .venv/installed ## a page with all tables and figures for each study of config/config.yaml, from completed runs
	$(SNAKEMAKE) --nolock $(ARGS) -- pages

page: .venv/installed ## the same, and their index in a browser
	index=$$($(SNAKEMAKE) --nolock $(ARGS) -- pages) && echo "$$index" && \
	    if test -f "$$index"; then .venv/bin/python -m webbrowser -t "file://$$index"; fi

report: .venv/installed ## all tables, figures and pages of config/config.yaml in one file, once they are there
	$(SNAKEMAKE) --nolock $(ARGS) -- pages
	$(SNAKEMAKE) --report results/report.html $(ARGS) -- all results/pages/index.html

design: .venv/installed ## what the studies of config/config.yaml can show, before anything is trained
	@$(SNAKEMAKE) --nolock --quiet rules $(ARGS) -- design

plan: .venv/installed ## what their runs will take
	@$(SNAKEMAKE) --nolock --quiet rules $(ARGS) -- plan

status: .venv/installed ## how far the studies of config/config.yaml are
	@.venv/bin/python scripts/status.py $(ARGS)

watch: .venv/installed ## the same, again every ten seconds
	@.venv/bin/python scripts/status.py --watch 10 $(ARGS)

tensorboard mlflow: .venv/exports-installed ## finished runs for TensorBoard, or to MLflow
	@.venv/bin/python scripts/export.py $@ $(ARGS)

test: check test-all ## all checks and all tests

test-all: .venv/exports-installed .venv/examples-installed ## all tests, without the checks
	$(PYTEST) tests plugins $(ARGS)

# These compute all the time, so that more workers than cores would only import torch more often.
test-fast: TEST_WORKERS = 2
test-fast: .venv/exports-installed ## the tests that need neither Snakemake's jobs nor a cluster: minutes
	$(PYTEST) tests/unit tests/statistics $(ARGS)

test-workflow: .venv/exports-installed .venv/examples-installed ## the tests of whole Snakemake calls on this machine
	$(PYTEST) tests/workflow plugins $(ARGS)

test-slurm: .venv/installed ## the tests on a real SLURM of two nodes, on this machine
	$(PYTEST) tests/slurm $(ARGS)

test-slurm-matrix: .venv/installed ## the same on SLURM 24.11, with cgroups, without accounting, with other preemption
	@.venv/bin/python tests/slurm/matrix.py -n $(TEST_WORKERS) --dist worksteal $(ARGS)

# Once for all package targets of a call.
package-lists:
	apt-get update -qq

slurm-packages: package-lists ## install what the SLURM tests need (Debian, as root)
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    slurm-wlm slurmdbd munge mariadb-server

browser-package: package-lists ## install what the test of the report needs (Debian, as root)
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium

tex-packages: package-lists ## install what the test of the LaTeX tables needs (Debian, as root)
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    texlive-latex-recommended texlive-science

MINUTES = 20
SEED = 1

chaos: .venv/installed ## studies under random faults, on the same SLURM; MINUTES=20 SEED=1 ARGS="--episode 7"
	@.venv/bin/python tests/slurm/chaos.py --minutes $(MINUTES) --seed $(SEED) $(ARGS)

slurm-up: .venv/installed ## a SLURM of two nodes on this machine, to try things on
	@.venv/bin/python tests/slurm/cluster.py up

slurm-down: .venv/installed ## end it
	@.venv/bin/python tests/slurm/cluster.py down

check: .venv/installed ## lint, format and types, without the tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check --compact-diff Snakefile rules
	.venv/bin/mypy
	.venv/bin/mypy --config-file $(PLUGIN)/pyproject.toml $(PLUGIN)/src

format: .venv/installed ## bring the code into its format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile rules

schema: .venv/installed ## write config/schema.json anew, from the config's model
	.venv/bin/python scripts/write_schema.py

lock: .venv/installed ## pin what envs/requirements.in, exports.in and examples.in name, with hashes
	.venv/bin/pip install -q pip-tools
	.venv/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-options \
	    --output-file envs/requirements.txt envs/requirements.in
	cd envs && for name in exports examples; do \
	    ../.venv/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-header \
	        --no-emit-index-url --no-emit-find-links --no-emit-options \
	        --output-file $$name.txt $$name.in || exit; done
	.venv/bin/python envs/mirror.py

audit: .venv/audit/bin/pip-audit ## known vulnerabilities of the pinned packages; needs a network
	@$(PYTHON) envs/audit.py $<

# In an environment of its own: it is no part of the product.
.venv/audit/bin/pip-audit: | .venv/installed
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1

PLUGIN = plugins/snakemake-executor-plugin-submitit

.venv/installed: envs/requirements.txt $(PLUGIN)/pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, and this is {v[0]}.{v[1]}; call make with PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --require-hashes -r envs/requirements.txt
	.venv/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation -e $(PLUGIN)
	touch $@

.venv/exports-installed .venv/examples-installed: .venv/%-installed: envs/%.txt .venv/installed
	.venv/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --require-hashes -r $<
	touch $@
