"""Which checkpoints of a run are written, kept and read; times are those of a clock that the tests set."""

import errno
import json
import os

import pytest

from rlkit import atomic_files
from rlkit.agents import A2C, Checkpoints, resume
from rlkit.agents.checkpoints import mean_return


class Clock:
    """A clock that is advanced by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def small(seed=1):
    return A2C("CartPole-v1", seeds=[seed], device="cpu", net_arch=[16])


def trained(checkpoints, steps=100, agent=None, notes=None):
    """Train and write a checkpoint every 25 steps."""
    agent = small() if agent is None else agent
    for done in agent.iterations(steps, every=5):
        if done % 25 == 0:
            checkpoints.save(agent, notes)
    return agent


def damage(path):
    """Flip a bit in the last tensor of a file."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_newest_and_the_best_are_kept_and_the_newest_is_named(tmp_path, monkeypatch):
    returns = iter([3.0, 9.0, 4.0, 5.0, 1.0])
    monkeypatch.setattr("rlkit.agents.checkpoints.mean_return", lambda agent: next(returns))
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_best=1)
    trained(checkpoints, 125)
    assert names(tmp_path) == ["100.safetensors", "125.safetensors", "50.safetensors", "LATEST"]
    latest = json.loads((tmp_path / "checkpoints" / "LATEST").read_text(encoding="utf-8"))
    assert latest == {"checkpoint": "125.safetensors", "timesteps": 125}
    assert checkpoints.saved_at == 125


def test_the_best_is_known_after_a_resumption(tmp_path, monkeypatch):
    returns = iter([3.0, 9.0, 4.0, 5.0])
    monkeypatch.setattr("rlkit.agents.checkpoints.mean_return", lambda agent: next(returns))
    trained(Checkpoints(tmp_path, keep_last=1), 50)
    again = Checkpoints(tmp_path, keep_last=1)
    agent = again.newest(device="cpu").agent
    trained(again, 50, agent)
    assert names(tmp_path) == ["100.safetensors", "50.safetensors", "LATEST"]


def test_a_policy_without_returns_is_the_worst(tmp_path):
    agent = small()
    assert mean_return(agent) != mean_return(agent)
    list(agent.training(200, every=5))
    assert mean_return(agent) >= 1.0


def test_notes_come_back_with_the_run(tmp_path):
    agent = trained(Checkpoints(tmp_path), notes={"seconds": 1.5, "curve": [1, 2]})
    found = Checkpoints(tmp_path).newest(device="cpu")
    assert found.notes == {"seconds": 1.5, "curve": [1, 2]}
    assert found.agent.num_timesteps == agent.num_timesteps == 100
    assert found.path == tmp_path / "checkpoints" / "100.safetensors"
    assert found.skipped == ()


def test_a_damaged_newest_falls_back_to_the_one_before_and_is_removed_later(tmp_path):
    whole = trained(Checkpoints(tmp_path))
    damage(tmp_path / "checkpoints" / "100.safetensors")
    again = Checkpoints(tmp_path)
    found = again.newest(device="cpu")
    assert found.agent.num_timesteps == 75
    (reason,) = found.skipped
    assert "100.safetensors" in reason
    assert "not those that were written" in reason
    agent = found.agent
    list(agent.iterations(5))
    again.save(agent)
    assert "100.safetensors" not in names(tmp_path)
    left = Checkpoints(tmp_path).newest(device="cpu").agent
    list(left.iterations(20))
    assert left.num_timesteps == whole.num_timesteps


def test_what_a_killed_save_left_is_completed(tmp_path):
    trained(Checkpoints(tmp_path, keep_last=9), 100)
    trained_to_75 = json.dumps({"checkpoint": "75.safetensors", "timesteps": 75})
    (tmp_path / "checkpoints" / "LATEST").write_text(trained_to_75, encoding="utf-8")  # killed before this was written
    again = Checkpoints(tmp_path, keep_best=0)
    assert again.newest(device="cpu").agent.num_timesteps == 100
    again.tidy()
    assert names(tmp_path) == ["100.safetensors", "75.safetensors", "LATEST"]
    assert json.loads((tmp_path / "checkpoints" / "LATEST").read_text(encoding="utf-8"))["timesteps"] == 100


def test_no_whole_checkpoint_is_an_error_with_every_reason(tmp_path):
    assert Checkpoints(tmp_path).newest() is None
    trained(Checkpoints(tmp_path), 50)
    for name in ("25", "50"):
        (tmp_path / "checkpoints" / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read: .*50\.safetensors .*25\.safetensors"):
        Checkpoints(tmp_path).newest()


def test_a_file_of_another_writer_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    small().checkpoint(tmp_path / "checkpoints" / "0.safetensors")
    (tmp_path / "checkpoints" / "010.safetensors").write_bytes(b"")  # not a name that is written
    with pytest.raises(ValueError, match=r"was not written by Checkpoints: read it with rlkit\.agents\.resume"):
        Checkpoints(tmp_path).newest(device="cpu")


def test_the_run_of_another_is_not_mixed_in(tmp_path):
    trained(Checkpoints(tmp_path))
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match=r"a run that is at step 100, and this one is at step 25"):
        trained(checkpoints)
    assert Checkpoints(tmp_path).timesteps() == [75, 100]
    checkpoints.clear()
    assert names(tmp_path) == []
    trained(checkpoints)
    assert checkpoints.timesteps() == [75, 100]


def test_left_overs_of_killed_saves_are_removed(tmp_path, monkeypatch):
    trained(Checkpoints(tmp_path), 25)
    monkeypatch.setattr(atomic_files, "process_runs", lambda pid: pid == os.getpid())
    left_over = tmp_path / "checkpoints" / f".75.safetensors.{atomic_files._host()}-1-0123abcd.rlkit-part"
    left_over.write_bytes(b"half")
    foreign = tmp_path / "checkpoints" / "notes.txt"
    foreign.write_text("of the user", encoding="utf-8")
    again = Checkpoints(tmp_path)
    agent = again.newest(device="cpu").agent
    trained(again, 25, agent)
    assert not left_over.exists()
    assert foreign.exists()


def test_a_full_disk_leaves_the_checkpoints_that_there_were(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    agent = trained(checkpoints, 50)
    before = names(tmp_path)
    list(agent.iterations(5))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(agent)
    assert names(tmp_path) == before
    assert resume(tmp_path / "checkpoints" / "50.safetensors", device="cpu").num_timesteps == 50


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "expected"), [(0.001, 300), (0.2, 299), (0.4, 230), (3.0, 29)])
def test_saving_takes_at_most_its_share_of_the_time(seconds, expected, tmp_path, monkeypatch):
    """Training of 3,000 seconds: every 10 seconds, or more seldom where that would cost more than 3 %."""
    clock = Clock()
    checkpoints = Checkpoints(tmp_path, clock=clock)
    agent = small()
    monkeypatch.setattr(agent, "checkpoint", lambda path, notes: setattr(clock, "now", clock.now + seconds))
    saved = 0
    for step in range(1, 3001):  # iterations of a second
        clock.now += 1.0
        if checkpoints.due(step):
            checkpoints.save(agent)
            saved += 1
            if saved > 1:  # what one costs is not known before the first one
                assert checkpoints.seconds + seconds <= 0.03 * (clock.now - 100.0)  # with one more at the end
    assert saved == expected
    assert checkpoints.seconds == pytest.approx(saved * seconds)


def test_steps_decide_if_they_are_given(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=99, every_steps=20)
    agent = small()
    for done in agent.iterations(100):
        if checkpoints.due(done):
            checkpoints.save(agent)
    assert checkpoints.timesteps() == [20, 40, 60, 80, 100]
    again = Checkpoints(tmp_path, every_steps=20)
    again.newest(device="cpu")
    assert [again.due(steps) for steps in (100, 119, 120, 121)] == [False, False, True, True]


@pytest.mark.parametrize(
    "wrong", [{"keep_last": 0}, {"keep_best": -1}, {"every_steps": 0}, {"share": 0.0}, {"share": 1.5}]
)
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="must be"):
        Checkpoints(tmp_path, **wrong)
