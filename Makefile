# make demo   everything from simulated captures to a trained, evaluated and reloaded model
# make test   the whole test suite, on transformers 4.57
# make test-transformers5   the same on transformers 5, in an overlay of the same environment
# make web    onnxruntime-web for the page of docs/deploy; needs npm
# make lint   format and check
# Each makes the environment it needs in .venv where there is none; PYTHON says from which Python.

PYTHON ?= python3
VENV ?= .venv
VENV5 ?= .venv-transformers5
PY := $(VENV)/bin/python
# Some processes side by side, one thread in each; a file's tests stay together, because they share what was trained, and
# files in their order, the slow ones first.
PYTEST := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
TESTING := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
LAUNCH := $(VENV)/bin/accelerate launch --quiet --config_file configs/accelerate/one_process.yaml

CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
DEV5 := $(VENV5)/.installed
RUFF := $(VENV)/bin/ruff

ORT_WEB := docs/deploy/onnxruntime-web
ORT_WEB_VERSION := 1.30.0
ORT_WEB_SHA512 := ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61
# Tests of the page are skipped where there is no npm to get it by.
WEB := $(if $(shell command -v npm 2>/dev/null),web)

.PHONY: demo test test-fast test-transformers5 web lint format clean
.DELETE_ON_ERROR:

demo: $(CORE)
	$(PY) scripts/make_demo_data.py --output data/demo --overwrite
	$(PY) scripts/convert_dataset.py --csv data/demo/train data/demo/val_seen data/demo/val_unseen --output data/demo-arrow --overwrite
	$(LAUNCH) scripts/train.py --config configs/demo.yaml --overwrite true
	$(PY) scripts/predict.py --model outputs/demo --picture outputs/demo/patches.png --json outputs/demo/predictions.json \
	  --overlay outputs/demo/overlays \
	  data/demo/val_seen/images/0000[0-3]_*.jpg data/demo/val_unseen/images/0000[0-3]_*.jpg data/demo/val_unseen/images/0002[4-7]_*.jpg
	$(PY) scripts/evaluate.py --model outputs/demo --dataset data/demo-arrow:val_unseen --threshold-on data/demo-arrow:val_seen \
	  --output outputs/demo-evaluation --overwrite

test: $(DEV) $(WEB)
	$(TESTING) $(PY) $(PYTEST)

# Without the tests that train or launch processes.
test-fast: $(DEV) $(WEB)
	$(TESTING) $(PY) $(PYTEST) -m "not slow"

# optimum-onnx ends at transformers 4.57: its tests skip themselves.
test-transformers5: $(DEV5) $(WEB)
	$(TESTING) $(VENV5)/bin/python $(PYTEST)

web: $(ORT_WEB)/.version-$(ORT_WEB_VERSION)

lint: $(RUFF)
	$(RUFF) format --check .
	$(RUFF) check .

format: $(RUFF)
	$(RUFF) format .
	$(RUFF) check --fix .

clean:
	rm -rf $(VENV) $(VENV5) $(ORT_WEB) data/demo data/demo-arrow outputs/demo outputs/demo-evaluation build dist *.egg-info

$(PY):
	$(PYTHON) -m venv $(VENV)

$(CORE): setup.cfg pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --editable .
	touch $@

$(DEV): setup.cfg pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --editable '.[onnx,dev]'
	touch $@ $(CORE)

$(RUFF): | $(PY)
	$(PY) -m pip install --quiet 'ruff>=0.12,<0.16'

# An overlay: transformers 5 and what it needs on top of all else in $(VENV), so that torch isn't installed twice.
$(DEV5): $(DEV)
	$(PYTHON) -m venv $(VENV5)
	$(PY) -c "import site; print(site.getsitepackages()[0])" > "$$($(VENV5)/bin/python -c 'import site; print(site.getsitepackages()[0])')/base.pth"
	$(VENV5)/bin/python -m pip install --quiet --no-warn-conflicts 'transformers>=5,<6' 'huggingface_hub>=1,<3' 'datasets>=5.2,<6'
	$(VENV5)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Two of the package's files: the page takes them from beside it, because it loads nothing from other servers.
$(ORT_WEB)/.version-$(ORT_WEB_VERSION):
	rm -rf $(@D)
	mkdir -p $(@D)
	npm pack --silent --pack-destination $(@D) onnxruntime-web@$(ORT_WEB_VERSION)
	$(PYTHON) -c "import hashlib, pathlib, sys; file, known = sys.argv[1:]; \
	  sys.exit(hashlib.sha512(pathlib.Path(file).read_bytes()).hexdigest() != known and f'{file} is not what was pinned')" \
	  $(@D)/onnxruntime-web-$(ORT_WEB_VERSION).tgz $(ORT_WEB_SHA512)
	tar -xzf $(@D)/onnxruntime-web-$(ORT_WEB_VERSION).tgz -C $(@D) --strip-components=2 \
	  package/dist/ort.wasm.bundle.min.mjs package/dist/ort-wasm-simd-threaded.wasm
	rm $(@D)/onnxruntime-web-$(ORT_WEB_VERSION).tgz
	touch $@
