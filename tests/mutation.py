"""Change important lines, one at a time, and check that the tests notice (DeMillo, Lipton & Sayward 1978).

    python tests/mutation.py [--jobs N] [WORD ...]

``make mutants`` tries every mutant of ``mutants.py``; with words, those whose name or file contains one of them. The
sources are copied to a temporary folder. The named tests must pass there. Then each mutant changes the copy, and its
tests must fail. The exit status is 1 if a mutant survives, or if its tests end in another way than by a failed
test, such as an import that fails.

torch and its like are imported once, and every mutant is tested in a forked process.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from mutants import MUTANTS, Mutant
from source_tree import ROOT

COPIED = ("rlkit", "envs", "agents", "experiments", "tests", "docs", "pyproject.toml", "README.md", "Makefile")
PRELOADED = (
    "torch", "scipy.stats", "scipy.sparse.linalg", "gymnasium", "safetensors.torch", "matplotlib.pyplot", "numba",
    "stable_baselines3",
)  # fmt: skip
SECONDS = 600.0  # that the tests of one mutant may take


class Result(NamedTuple):
    """How the tests of a mutant ended."""

    status: int | None  # pytest's exit status; None: they ran out of time
    output: str
    seconds: float

    @property
    def failed(self) -> list[str]:
        """The tests that failed."""
        return re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", self.output, re.MULTILINE)


def copy_tree(target: Path) -> Path:
    """Copy what the tests need, links as links, without caches."""
    target.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            leave_out = shutil.ignore_patterns("__pycache__", "_build")
            shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=leave_out)
        else:
            shutil.copy2(ROOT / name, target / name)
    return target


def run_tests(folder: Path, tests: tuple[str, ...], output: Path, fresh_kernels: bool) -> None:
    """Be the process that runs tests in a copy; its exit status is pytest's."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)  # for the processes that tests start
    if fresh_kernels:  # machine code of a mutant stays out of the user's cache
        os.environ["NUMBA_CACHE_DIR"] = str(output.with_suffix(".numba"))
        sys.modules["numba"].config.reload_config()
    sys.path.insert(0, str(folder))
    import pytest

    import rlkit

    if not Path(rlkit.__file__).is_relative_to(folder):
        raise RuntimeError(f"rlkit was imported from {rlkit.__file__} instead of {folder}")
    options = ["-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    sys.exit(int(pytest.main([*options, *(f"tests/{test}" for test in tests)])))


def preload() -> None:
    """Import what most tests need, once for all the processes that are forked; nothing of the package itself."""
    for name in PRELOADED:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)


class Worker:
    """A copy of the sources in which one mutant after the other is tested."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_tree(folder)
        self.mutant: Mutant | None = None
        self._count = 0
        self._stamp = 10**9  # of the last file written

    def start(self, mutant: Mutant | None, tests: tuple[str, ...]) -> None:
        """Run tests in a process of its own, with the fault of a mutant."""
        self.mutant, self._began = mutant, time.monotonic()
        self._count += 1
        if mutant is not None:
            self._whole = (self.folder / mutant.file).read_text(encoding="utf-8")
            self._write(mutant.file, self._whole.replace(mutant.old, mutant.new))
        self._output = self.folder.with_name(f"{self.folder.name}-{self._count}.txt")
        fresh = mutant is not None and "kernels" in mutant.file
        arguments = (self.folder, tests, self._output, fresh)
        self.process = multiprocessing.get_context("fork").Process(target=run_tests, args=arguments, daemon=True)
        self.process.start()

    def overdue(self) -> bool:
        """Whether the tests have run for too long."""
        return time.monotonic() - self._began > SECONDS

    def finish(self) -> Result:
        """End the process and take the fault back."""
        late = self.process.is_alive()
        if late:
            self.process.kill()
        self.process.join()
        if self.mutant is not None:
            self._write(self.mutant.file, self._whole)
        output = self._output.read_text(encoding="utf-8", errors="replace")
        return Result(None if late else self.process.exitcode, output, time.monotonic() - self._began)

    def _write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text, encoding="utf-8")
        self._stamp += 10  # bytecode is known by the time and size of its source
        os.utime(self.folder / file, (self._stamp, self._stamp))


def in_parallel(
    workers: list[Worker], work: list[tuple[Mutant | None, tuple[str, ...]]]
) -> Iterator[tuple[int, Result]]:
    """Do every piece of work; yields its number and result when it is done."""
    waiting, running, idle = list(enumerate(work))[::-1], {}, list(workers)
    while waiting or running:
        while waiting and idle:
            worker = idle.pop()
            number, (mutant, tests) = waiting.pop()
            worker.start(mutant, tests)
            running[worker] = number
        connection.wait([worker.process.sentinel for worker in running], timeout=1.0)
        for worker in [w for w in running if not w.process.is_alive() or w.overdue()]:
            yield running.pop(worker), worker.finish()
            idle.append(worker)


def verdict(result: Result) -> tuple[bool, str]:
    """Whether a mutant was caught, and the words for it."""
    if result.status == 1 and result.failed:
        return True, f"caught by {result.failed[0]}"
    if result.status == 0:
        return False, "SURVIVED"
    how = "ran out of time" if result.status is None else f"ended with status {result.status}"
    return False, f"NO ANSWER: the tests {how}\n{result.output[-2000:]}"


def main() -> int:
    """Test the mutants and print the table."""
    parser = argparse.ArgumentParser(description="Check that the tests notice faults in important lines.")
    parser.add_argument("words", nargs="*", help="only mutants whose name or file contains one of these words")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 2), help="processes at a time")
    options = parser.parse_args()
    words = options.words
    mutants = [m for m in MUTANTS if not words or any(word in m.name or word in m.file for word in words)]
    for mutant in mutants:
        if mutant.found != 1:
            raise SystemExit(f"{mutant.name}: its old text is {mutant.found} times in {mutant.file}")
    preload()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes and copies are removed
    began, failures, survivors = time.monotonic(), 0, 0
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    unchanged = [tuple(tests[i :: options.jobs]) for i in range(options.jobs)]
    work = [*((None, part) for part in unchanged if part), *((mutant, mutant.tests) for mutant in mutants)]
    with tempfile.TemporaryDirectory(prefix="rlkit-mutants-") as temporary:
        workers = [Worker(Path(temporary) / f"copy-{i}") for i in range(options.jobs)]
        for number, result in in_parallel(workers, work):
            mutant, tests_run = work[number]
            if mutant is None:
                failures += result.status != 0
                told = "pass" if result.status == 0 else f"DO NOT PASS\n{result.output}\n"
                print(f"{len(tests_run)} tests {told} without a mutant ({result.seconds:.0f} s)", flush=True)
            else:
                caught, told = verdict(result)
                survivors += not caught
                print(f"{mutant.file}: {mutant.name}: {told} ({result.seconds:.0f} s)", flush=True)
    spent, cpu = time.monotonic() - began, sum(os.times()[:4])
    caught_ones = f"{len(mutants) - survivors} of {len(mutants)} mutants were caught"
    print(f"{caught_ones} in {spent:.0f} s, {cpu:.0f} s of CPU on {options.jobs} processes")
    return 1 if survivors or failures else 0


if __name__ == "__main__":
    sys.exit(main())
