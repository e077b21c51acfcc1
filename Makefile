# Two commands: `make demo` quantifies a sample chest CT (or yours: `make demo CT=path`),
# `make test` runs all tests. Both make .venv first and install pinned versions into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A real chest with painted lesions, and what was painted.
SAMPLE := CovidLungQuant/Resources/SampleData/chest-with-painted-lesions.nrrd
SAMPLE_TRUTH := $(SAMPLE:.nrrd=-truth.seg.nrrd)
CT ?= $(SAMPLE)
DEMO_OUTPUT := demo-output
AGAINST_TRUTH := demo-against-truth
COHORT := cohort-tutorial

# What VTK and Qt load from the system to draw without a display, and WeasyPrint to write a PDF.
DRAWING_PACKAGES := libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri libx11-6 libxkbcommon0 \
	libdbus-1-3 libfontconfig1 libglib2.0-0 libpangoft2-1.0-0 fonts-dejavu-core

DEMO_ENVIRONMENT := $(VENV)/.demo-installed
TEST_ENVIRONMENT := $(VENV)/.test-installed

# The browser viewer needs another slicer-core, so it has an environment of its own.
VIEWER_VENV := .venv-viewer
VIEWER_ENVIRONMENT := $(VIEWER_VENV)/.viewer-installed
VIEW := $(VIEWER_VENV)/bin/covidlungquant view
# What tests of its page need; where it cannot be had, they are skipped.
BROWSER := { command -v chromium >/dev/null || { command -v apt-get >/dev/null && requirements/debian.sh chromium; }; }

# Tests run in one process a core, four at most, each of which computes on one core.
WORKERS ?= auto
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
	--numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile

.PHONY: help demo viewer viewer-test test test-quick fuzz lint cmake-lists checks-page bench train screenshot tutorial \
	cohort-tutorial system-packages clean

help:
	@sed -n 's/^# //p' Makefile | head -2
	@echo "Also: make viewer, viewer-test, test-quick, fuzz, lint, cmake-lists, checks-page, bench, train, screenshot, tutorial, cohort-tutorial, clean."

demo: $(DEMO_ENVIRONMENT)
	$(BIN)/covidlungquant segment "$(CT)" --output $(DEMO_OUTPUT) --scene --probability \
		--overwrite
ifeq ($(CT),$(SAMPLE))
	$(BIN)/covidlungquant evaluate $(DEMO_OUTPUT)/segmentation.seg.nrrd $(SAMPLE_TRUTH) \
		--output $(AGAINST_TRUTH) --overwrite
	@echo "Open $(AGAINST_TRUTH)/evaluation.html to see how close that is to what was painted."
endif
	@echo "Open $(DEMO_OUTPUT)/report.html in a browser, $(DEMO_OUTPUT)/scene.mrb in 3D Slicer."
	@echo "To look at it and correct it in a browser: make viewer && $(VIEW) $(DEMO_OUTPUT)"

# Sets up `covidlungquant view`, the viewer in the browser.
viewer: $(VIEWER_ENVIRONMENT)
	@echo "Start it with: $(VIEW) RESULT_FOLDER"

# The viewer in a real Chromium, which is installed on Debian; a part of make test.
viewer-test: $(TEST_ENVIRONMENT) $(VIEWER_ENVIRONMENT)
	$(BROWSER)
	$(PYTEST) Testing/Python/test_viewer_page.py

test: $(TEST_ENVIRONMENT)
	@$(BROWSER) && $(MAKE) --no-print-directory $(VIEWER_ENVIRONMENT) \
		|| echo "The viewer's page cannot be tested here; those tests are skipped."
	$(PYTEST) --cov --cov-report=
	$(BIN)/python Testing/coverage_by_room.py

# What needs neither patience nor real scans.
test-quick: $(TEST_ENVIRONMENT)
	$(PYTEST) -m "not slow and not real_data"

# Thousands of damaged files at every door.
fuzz: $(TEST_ENVIRONMENT)
	$(BIN)/python -m Testing.Robustness.fuzz --count 2000

lint: $(TEST_ENVIRONMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# After adding, moving or removing a file that Slicer installs.
cmake-lists:
	$(PYTHON) Testing/update_cmake_lists.py

# After changing what is refused or warned of.
checks-page:
	$(PYTHON) Testing/update_checks_page.py

# How time and memory grow with the slices of a scan; writes build/bench/performance.md. All that
# Docs/performance.md shows: SLICES="60 120 240 500 1000" REPEATS=3, and hours.
SLICES ?= 60 120
REPEATS ?= 1
bench: $(DEMO_ENVIRONMENT)
	$(BIN)/python Testing/Benchmarks/scaling.py --slices $(SLICES) --repeats $(REPEATS)
	$(BIN)/python Testing/Benchmarks/time_parts.py

# DATASET: a folder with one folder for each case (ct.nrrd, labels.nrrd).
train: $(DEMO_ENVIRONMENT)
	$(BIN)/covidlungquant train "$(DATASET)" --recipe unet-attention --output runs/model

screenshot: $(TEST_ENVIRONMENT)
	$(BIN)/python -m Testing.slicer_stand_in.screenshot $(SAMPLE)

# The pictures of Docs/tutorial.md.
tutorial: $(TEST_ENVIRONMENT)
	$(BIN)/python -m Testing.slicer_stand_in.tutorial_pictures $(SAMPLE) Docs/pictures

# Docs/cohort-tutorial.md from end to end, on a cohort drawn at random.
cohort-tutorial: $(TEST_ENVIRONMENT)
	rm -rf $(COHORT)
	$(BIN)/covidlungquant simulate-cohort -o $(COHORT)/tables
	$(BIN)/covidlungquant timecourse $(COHORT)/tables/serial.csv --group group --published -o $(COHORT)/timecourse
	$(BIN)/covidlungquant score-burden $(COHORT)/tables/serial.csv --group group -o $(COHORT)/score-burden
	$(BIN)/covidlungquant agreement $(COHORT)/tables/readers.csv -o $(COHORT)/agreement
	$(BIN)/covidlungquant prognosis $(COHORT)/tables/patients.csv --clinical sex,age_45_64,age_over_64,hypertension,diabetes,cancer,respiratory_disease,cardiac_disease,over_7_days -o $(COHORT)/prognosis
	$(BIN)/covidlungquant prognosis $(COHORT)/tables/patients.csv --apply $(COHORT)/prognosis/model.json -o $(COHORT)/applied
	$(BIN)/covidlungquant radiomics --check $(COHORT)/tables/features.csv -o $(COHORT)/features
	@echo "Open the pages (.html) in the folders of $(COHORT); Docs/cohort-tutorial.md says what they show."

# As root, once, where `make test` is not to install them itself.
system-packages:
	requirements/debian.sh $(DRAWING_PACKAGES)

clean:
	rm -rf $(VENV) $(VIEWER_VENV) build $(DEMO_OUTPUT) $(AGAINST_TRUTH) $(COHORT)

$(DEMO_ENVIRONMENT): requirements/demo.txt requirements/environment.sh pyproject.toml
	requirements/environment.sh $(PYTHON) $(VENV) requirements/demo.txt
	@touch $@

$(TEST_ENVIRONMENT): requirements/test.txt $(DEMO_ENVIRONMENT)
	requirements/debian.sh $(DRAWING_PACKAGES)
	requirements/environment.sh $(PYTHON) $(VENV) requirements/test.txt
	@touch $@

$(VIEWER_ENVIRONMENT): requirements/viewer.txt requirements/demo.txt requirements/environment.sh pyproject.toml
	requirements/debian.sh $(DRAWING_PACKAGES)
	@mkdir -p build
	@grep -v '^slicer-core==' requirements/demo.txt | cat - requirements/viewer.txt > build/viewer.txt
	requirements/environment.sh $(PYTHON) $(VIEWER_VENV) build/viewer.txt
	@touch $@
