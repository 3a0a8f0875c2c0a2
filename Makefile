# `make demo` and `make test` do everything on a machine with Python 3.11+ and make; the environment is made when missing.
PYTHON ?= python3
BIN := .venv/bin
# numpy and torch on one thread each: parallelism comes from processes
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# each process begins with half of the tests in their order, so what a file sets up or compiles is made once
TWO := -n 2 --dist worksteal

.PHONY: help demo test quick lint types docs bench mutants endurance ray clean
help:
	@echo "make demo    train, check against the exact answer, compare with stable-baselines3, attack, report (about 8 minutes)"
	@echo "make test    lint, types, quick and slow tests (20 minutes)"
	@echo "make quick   the quick tests (90 seconds)"
	@echo "make endurance 200 kills while saving, trainings of a million steps, full and read-only disks, thousands of problems (45 minutes)"
	@echo "make mutants change important lines and check that the tests notice (5 minutes)"
	@echo "make ray     install Ray, and run a sweep on a cluster of three nodes whose one is killed (3 minutes)"
	@echo "make docs    install Ray, run the tutorials and build the pages, into docs/_build (5 minutes)"
	@echo "make bench   speed compared with other libraries, in one run"

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[sb3,fast,proof,trees,tensorboard,slurm,tune,dev]"
	$(BIN)/python -m rlkit.experiments.precompile
	touch .venv/installed

.venv/ray: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[ray]"
	touch .venv/ray

demo: .venv/installed
	$(BIN)/rlkit demo

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/python -m mypy -p rlkit

quick: .venv/installed
	$(BIN)/python -m pytest -q $(TWO) -m "not slow"

test: lint  # one of the tests is the type check, beside which others run
	$(BIN)/python -m pytest -q $(TWO) --durations=15

endurance: .venv/installed
	RLKIT_ENDURANCE=full RLKIT_KILLS=20 $(BIN)/python -m pytest -q tests/endurance tests/experiments/test_resume.py \
		tests/adversarial/test_bracket.py::TestOrder::test_no_attack_beats_it_in_many_problems \
		tests/planning/test_methods.py::test_many_problems_are_enclosed_by_every_method \
		tests/planning/test_operators_and_solutions.py::test_many_problems_are_enclosed

ray: .venv/ray
	$(BIN)/python -m pytest -q tests/experiments/test_sweep_executors.py tests/experiments/test_tune.py

mutants: .venv/installed
	$(BIN)/python tests/mutation.py

docs: .venv/ray
	$(BIN)/python -m sphinx -W -q docs docs/_build

bench: .venv/installed
	$(BIN)/python -m rlkit.experiments.benchmarks

clean:
	rm -rf .venv build dist *.egg-info
