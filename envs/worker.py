"""Environments in a separate process, which is killed when one of them does not answer in time.

The process is forked from a server that has imported rlkit, or spawned where there are no such servers, so a script
whose environments step in workers needs ``if __name__ == "__main__":``, as those that use multiprocessing do. The
function that makes environments is pickled by cloudpickle: what it refers to is copied, not shared.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import cloudpickle
import gymnasium
from gymnasium.envs.registration import EnvSpec

from rlkit.env_checker import FaultyEnvironmentError, UnresponsiveEnvironmentError, env_name

SECONDS_TO_START = 60.0  # for the process, its imports and one environment; ``step_timeout`` if that is longer
SECONDS_TO_CLOSE = 2.0
GUARD = 'with step_timeout a script needs if __name__ == "__main__": around what it runs'


def check_step_timeout(step_timeout: float | None) -> None:
    """Refuse what is no time limit.

    Raises:
        ValueError: something else than None or a finite number above 0.
    """
    if step_timeout is not None and not (
        isinstance(step_timeout, int | float) and 0.0 < step_timeout <= threading.TIMEOUT_MAX
    ):
        raise ValueError(f"step_timeout must be a number of seconds above 0, or None, got {step_timeout!r}")


class Worker:
    """A process that holds environments.

    Args:
        make_one: makes one environment.
        timeout: seconds in which every ``reset`` and ``step`` must return.

    Raises:
        ValueError: ``make_one`` cannot be pickled.
        RuntimeError: no process can be started.
    """

    def __init__(self, make_one: Callable[[], gymnasium.Env[Any, Any]], timeout: float) -> None:
        self.timeout = timeout
        try:
            maker = cloudpickle.dumps(make_one)
        except Exception as error:  # whatever the pickling of a foreign object may raise
            raise ValueError(
                f"step_timeout needs environments that another process can make, and {make_one!r} cannot be pickled: "
                f"{error}"
            ) from error
        context = _context()
        self._connection, remote = context.Pipe()
        self.process: Any = context.Process(target=serve, args=(remote, maker), daemon=True)  # type: ignore[attr-defined]
        try:
            self.process.start()
        except (EOFError, OSError) as error:
            raise RuntimeError(
                f"no worker process can be started for step_timeout: {error or type(error).__name__}: {GUARD}"
            ) from error
        remote.close()
        self._open = 0  # environments that are not closed
        self.stop = weakref.finalize(self, _killed, self.process, self._connection)

    def make(self) -> RemoteEnv:
        """Make one environment in the process.

        Raises:
            FaultyEnvironmentError: it takes longer than ``SECONDS_TO_START`` and the time limit of a step.
            Exception: what ``make_one`` raised.
        """
        try:
            described = self.ask("make", self._open, (), max(self.timeout, SECONDS_TO_START))
        except UnresponsiveEnvironmentError as error:
            raise FaultyEnvironmentError(f"the function that makes environments {error}: {GUARD}") from error
        self._open += 1
        return RemoteEnv(self, self._open - 1, *described)

    def ask(self, what: str, place: int, arguments: tuple[Any, ...], timeout: float | None = None) -> Any:
        """Call a method of an environment and return what it returns.

        Raises:
            UnresponsiveEnvironmentError: it does not answer in time, and the process was killed; or the process ended.
            Exception: what the method raised.
        """
        seconds = self.timeout if timeout is None else timeout
        try:
            self._connection.send_bytes(pickle.dumps((what, place, arguments)))
            answer = pickle.loads(self._connection.recv_bytes()) if self._connection.poll(seconds) else None
        except (EOFError, OSError):
            self.process.join(SECONDS_TO_CLOSE)
            code = self.process.exitcode
            self.stop()
            raise UnresponsiveEnvironmentError(f"ended its process (exit code {code})") from None
        except BaseException:  # an interrupt: the answer would be taken for that of the next question
            self.stop()
            raise
        if answer is None:
            self.stop()
            raise UnresponsiveEnvironmentError(f"did not answer within {seconds:g} s")
        result, error = answer
        if error is not None:
            raise error
        return result

    def close(self, place: int) -> None:
        """Close an environment; the process ends with its last one."""
        if not self.stop.alive:
            return
        try:
            self.ask("close", place, (), SECONDS_TO_CLOSE)
        except UnresponsiveEnvironmentError:
            return
        self._open -= 1
        if self._open == 0:
            self.stop()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "environments in worker processes (step_timeout) cannot be copied: write a checkpoint and resume it"
        )


class RemoteEnv(gymnasium.Env[Any, Any]):
    """One environment of a ``Worker``; infos hold ``"action_mask"`` at most."""

    def __init__(self, worker: Worker, place: int, spaces: tuple[Any, Any], name: str, limit: int | None) -> None:
        self._worker, self._place = worker, place
        self.observation_space, self.action_space = spaces
        self.spec = EnvSpec(name, max_episode_steps=limit)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset it in its process; errors as of ``Worker.ask``."""
        result: tuple[Any, dict[str, Any]] = self._worker.ask("reset", self._place, (seed,))
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step it in its process; errors as of ``Worker.ask``."""
        result: tuple[Any, Any, bool, bool, dict[str, Any]] = self._worker.ask("step", self._place, (action,))
        return result

    def close(self) -> None:
        """Close it in its process."""
        self._worker.close(self._place)


def serve(connection: Connection, maker: bytes) -> None:
    """Answer a ``Worker`` until it is gone: the main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the parent decides what follows
    threading.Thread(target=_end_with_parent, daemon=True).start()
    envs: list[gymnasium.Env[Any, Any]] = []
    while True:
        try:
            what, place, arguments = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            answer = pickle.dumps((_answered(envs, maker, what, place, arguments), None))
        except Exception as error:  # whatever an environment may raise
            answer = _pickled_error(error)
        connection.send_bytes(answer)


def _answered(
    envs: list[gymnasium.Env[Any, Any]], maker: bytes, what: str, place: int, arguments: tuple[Any, ...]
) -> Any:
    """Do what was asked."""
    if what == "make":
        env = cloudpickle.loads(maker)()
        envs.append(env)
        if not isinstance(env, gymnasium.Env):
            raise ValueError(f"make_one returned {type(env)}: it must make a gymnasium.Env")
        limit = None if env.spec is None else env.spec.max_episode_steps
        return (env.observation_space, env.action_space), env_name(env), limit
    if what == "close":
        return envs[place].close()
    if what == "step":
        return _slim(envs[place].step(*arguments))
    return _slim(envs[place].reset(seed=arguments[0]))


def _slim(result: Any) -> Any:
    """Leave of a well-formed result's info what is read here: other entries may be large, or not picklable."""
    if type(result) is tuple and result and isinstance(result[-1], dict):
        info = {name: result[-1][name] for name in ("action_mask",) if name in result[-1]}
        return (*result[:-1], info)
    return result


def _pickled_error(error: Exception) -> bytes:
    """Return the answer that says an error was raised, the error itself if it can be pickled and unpickled."""
    try:
        answer = cloudpickle.dumps((None, error))
        pickle.loads(answer)
    except Exception:  # whatever pickling may raise
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
    return bytes(answer)


def _end_with_parent() -> None:
    """End this process when its parent ends, even if an environment never returns."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _killed(process: Any, connection: Connection) -> None:
    """Kill a process and wait until it is gone."""
    connection.close()
    process.kill()
    process.join()
    process.close()


def _context() -> BaseContext:
    """Return what starts processes: a server that forks itself once it has imported rlkit, where there can be one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return context
