# make demo        a small data set, a trained detector, its AP and pictures of its detections
# make demo-mask   the same with masks
# make compare-masks    Mask R-CNN and FCOS with masks on the demo's data, and the page that compares them
# make report      trains what a report needs, and writes it; PROFILE=full takes an hour and a half, and goes on after a stop
# make submission NAME=me    packs that report, the code and the best weights; PROFILE as of the report
# make test        every test
# make test-oldest, make test-newest    the same with the oldest versions of everything that setup.py promises
#                  (Python 3.10, constraints-oldest*.txt), and with the newest there are (Python 3.13)
# make torture-launchers    one process of a training killed, by whatever it was launched (minutes)
# make torture     trainings stopped in every way end as those that were not, and of all programs that
#                  are killed or whose files may not grow, what is found is whole or absent (minutes)
# make soak N=100000    memory, files and threads stay as they are from image to image (hours)
# make bench       speed, beside torchvision's FCOS, detectron2's and pycocotools
# make fuzz        files of every kind damaged at random, and read; SECONDS=600 for each kind
# make docs        docs/CONFIG.md, the reference page of config keys, and the table of docs/MODEL_ZOO.md
# make site        all pages, the notebook and the API as a web site, in build/site
# make lint        formatter, linter, spelling, types
# make dist        wheels and source distributions, in dist/
#
# Each first makes the environment .venv if there is none. To use your own environment, for instance one
# with detectron2 itself, install fcos in it (pip install -e '.[demo,dev,export,timm]') and name its Python:
#
#   make test PYTHON=python

VENV := .venv

ifeq ($(origin PYTHON), undefined)
PYTHON := $(VENV)/bin/python
ENVIRONMENT := $(VENV)/installed
endif

.PHONY: demo demo-mask compare-masks report submission test test-oldest test-newest torture torture-launchers soak fuzz bench docs site lint dist env clean

demo: CONFIG := digits
demo-mask: CONFIG := digits_mask

demo demo-mask: $(ENVIRONMENT)
	$(PYTHON) -m fcos.data.digits --root datasets/digits
	$(PYTHON) train_net.py --config-file configs/$(CONFIG).yaml --resume OUTPUT_DIR output/$(CONFIG)
	$(PYTHON) demo.py --config-file configs/$(CONFIG).yaml --dataset digits_val --num-images 8 \
		--output output/$(CONFIG)/pictures --opts MODEL.WEIGHTS output/$(CONFIG)/model_final.pth
	@echo "AP: output/$(CONFIG)/log.txt. Pictures: output/$(CONFIG)/pictures"

compare-masks: $(ENVIRONMENT)
	$(PYTHON) -m fcos.data.digits --root datasets/digits
	$(PYTHON) train_net.py --config-file configs/digits_mask_rcnn.yaml --resume
	$(PYTHON) train_net.py --config-file configs/digits_mask.yaml --resume
	$(PYTHON) -m fcos_cli compare "Mask R-CNN=output/digits_mask_rcnn" "FCOS=output/digits_mask" \
		--output output/compare_masks

PROFILE := quick

report: $(ENVIRONMENT)
	$(PYTHON) -m fcos.data.digits --root datasets/digits
	$(PYTHON) -m fcos_cli.report_runs --profile $(PROFILE) --output output/report/$(PROFILE)
	$(PYTHON) -m fcos_cli report output/report/$(PROFILE)/*-seed*/ --output output/report/$(PROFILE)

submission: $(ENVIRONMENT)
	$(PYTHON) -m fcos_cli.submission "$(NAME)" --report output/report/$(PROFILE)

test: $(ENVIRONMENT)
	$(PYTHON) -m pytest -q -n 2 detectron2-lite/tests
	$(PYTHON) -m pytest -q -n 2 tests

# Each in an environment of its own, made anew; PYTHON_OLDEST and PYTHON_NEWEST may name other interpreters.
PYTHON_OLDEST := python3.10
PYTHON_NEWEST := python3.13

test-oldest:
	rm -rf .venv-$@
	$(PYTHON_OLDEST) -m venv .venv-$@
	.venv-$@/bin/python -m pip install --upgrade pip
	.venv-$@/bin/python -m pip install -c constraints-oldest.txt -e ./detectron2-lite -e '.[demo,dev,timm]'
	$(MAKE) test PYTHON=.venv-$@/bin/python
	.venv-$@/bin/python -m pip install -c constraints-oldest-export.txt -e '.[demo,dev,export,timm]'
	.venv-$@/bin/python -m pytest -q -n 2 tests/export

test-newest:
	rm -rf .venv-$@
	$(PYTHON_NEWEST) -m venv .venv-$@
	.venv-$@/bin/python -m pip install --upgrade pip
	.venv-$@/bin/python -m pip install -e ./detectron2-lite -e '.[demo,dev,export,timm]'
	$(MAKE) test PYTHON=.venv-$@/bin/python

torture: $(ENVIRONMENT)
	$(PYTHON) -m tests.torture
	$(PYTHON) -m tests.programs

N := 2000

soak: $(ENVIRONMENT)
	$(PYTHON) -m tests.soak --number $(N)

torture-launchers: $(ENVIRONMENT)
	$(PYTHON) -m tests.torture_launchers

SECONDS := 600

fuzz: $(ENVIRONMENT)
	FCOS_FUZZ_SEEDS=3000 $(PYTHON) -m pytest -q tests/data/test_fuzz.py
	$(PYTHON) -m tests.fuzzing --seconds $(SECONDS) --found output/fuzz

bench: $(ENVIRONMENT)
	$(PYTHON) -m benchmarks

docs: $(ENVIRONMENT)
	$(PYTHON) -m fcos.config.keys > docs/CONFIG.md
	$(PYTHON) -m fcos.checkpoint.zoo_page docs/MODEL_ZOO.md

site: $(ENVIRONMENT)
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[docs]'
	$(PYTHON) docs/site/stage.py build/pages
	$(PYTHON) -m mkdocs build --strict -f docs/site/mkdocs.yml

lint: $(ENVIRONMENT)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m codespell_lib
	$(PYTHON) -m mypy fcos fcos_cli benchmarks train_net.py demo.py

dist: $(ENVIRONMENT)
	$(PYTHON) -m pip install -c constraints.txt build twine
	$(PYTHON) -m build --outdir dist detectron2-lite
	$(PYTHON) -m build --outdir dist .
	$(PYTHON) -m twine check --strict dist/*

env: $(ENVIRONMENT)

$(VENV)/installed: setup.py constraints.txt detectron2-lite/pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fcos needs Python 3.10 or later; python3 here is " + sys.version.split()[0])'
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --upgrade pip
	$(VENV)/bin/python -m pip install -c constraints.txt -e ./detectron2-lite -e '.[demo,dev,export,timm]'
	touch $@

clean:
	rm -rf $(VENV) output/digits output/digits_mask datasets/digits
