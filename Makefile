# Two commands: `make demo` quantifies a synthetic chest CT (or yours: `make demo CT=path`),
# `make test` runs all tests. Both make .venv first and install pinned versions into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHANTOM := build/phantom.nrrd
CT ?= $(PHANTOM)
DEMO_OUTPUT := demo-output

# What VTK and Qt load from the system to draw without a display, and WeasyPrint to write a PDF.
DRAWING_PACKAGES := libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri libx11-6 libxkbcommon0 \
	libdbus-1-3 libfontconfig1 libglib2.0-0 libpangoft2-1.0-0 fonts-dejavu-core

DEMO_ENVIRONMENT := $(VENV)/.demo-installed
TEST_ENVIRONMENT := $(VENV)/.test-installed

.PHONY: help demo test lint bench train screenshot tutorial clean

help:
	@sed -n 's/^# //p' Makefile | head -2
	@echo "Also: make lint, bench, train, screenshot, tutorial, clean."

demo: $(DEMO_ENVIRONMENT) $(if $(filter $(PHANTOM),$(CT)),$(PHANTOM))
	$(BIN)/covidlungquant segment "$(CT)" --output $(DEMO_OUTPUT) --scene --overwrite
	@echo "Open $(DEMO_OUTPUT)/report.html in a browser, $(DEMO_OUTPUT)/scene.mrb in 3D Slicer."

test: $(TEST_ENVIRONMENT)
	$(BIN)/python -m pytest

lint: $(TEST_ENVIRONMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(DEMO_ENVIRONMENT)
	$(BIN)/python Testing/Benchmarks/time_parts.py

# DATASET: a folder with one folder for each case (ct.nrrd, labels.nrrd).
train: $(DEMO_ENVIRONMENT)
	$(BIN)/covidlungquant train "$(DATASET)" --recipe unet-attention --output runs/model

screenshot: $(TEST_ENVIRONMENT) $(PHANTOM)
	$(BIN)/python -m Testing.slicer_stand_in.screenshot $(PHANTOM)

# The pictures of Docs/tutorial.md.
tutorial: $(TEST_ENVIRONMENT) $(PHANTOM)
	$(BIN)/python -m Testing.slicer_stand_in.tutorial_pictures $(PHANTOM) Docs/pictures

clean:
	rm -rf $(VENV) build $(DEMO_OUTPUT)

$(PHANTOM): $(DEMO_ENVIRONMENT)
	@rm -f $@
	$(BIN)/covidlungquant phantom --output $@

$(DEMO_ENVIRONMENT): requirements/demo.txt requirements/environment.sh pyproject.toml
	requirements/environment.sh $(PYTHON) $(VENV) requirements/demo.txt
	@touch $@

$(TEST_ENVIRONMENT): requirements/test.txt $(DEMO_ENVIRONMENT)
	requirements/debian.sh $(DRAWING_PACKAGES)
	requirements/environment.sh $(PYTHON) $(VENV) requirements/test.txt
	@touch $@
