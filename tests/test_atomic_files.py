"""Files are written whole or not at all, whatever happens in between, and a folder has one writer."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlkit import atomic_files
from rlkit.atomic_files import only_writer, remove_leftovers, whole_file


def write(path, content=b"new"):
    with whole_file(path) as file:
        file.write(content)


def names(folder):
    return sorted(os.listdir(folder))


def leftover(folder, name="a", host=None, pid=2**22 + 1):
    path = folder / f".{name}.{host or atomic_files._host()}-{pid}-0123abcd.rlkit-part"
    path.write_bytes(b"half")
    return path


def test_a_file_is_new_after_the_context_and_old_before(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_an_error_in_the_context_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail():
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def rename(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    write(tmp_path / "a")
    assert calls == ["file", "rename", "folder"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; .*a was not written, and what was there is unchanged"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write a in: make it first"):
        write(tmp_path / "nowhere" / "a")


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_nothing_is_written_through_a_link_or_over_a_special_file(kind, tmp_path):
    path, target = tmp_path / "a", tmp_path / "target"
    if kind == "link":
        target.write_bytes(b"old")
    if "link" in kind:
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = names(tmp_path)
    with pytest.raises(FileExistsError, match="symbolic link" if "link" in kind else "not a regular file"):
        write(path)
    assert names(tmp_path) == before
    if kind == "link":
        assert target.read_bytes() == b"old"


def test_the_next_write_removes_what_a_killed_one_left(tmp_path):
    leftover(tmp_path)
    other = leftover(tmp_path, name="b")
    write(tmp_path / "a")
    assert names(tmp_path) == sorted(["a", other.name])
    assert remove_leftovers(tmp_path) == [other.name]
    assert names(tmp_path) == ["a"]


def test_a_running_process_keeps_its_temporary_file(tmp_path):
    mine = leftover(tmp_path, pid=os.getpid())
    parent = leftover(tmp_path, name="b", pid=os.getppid())
    assert remove_leftovers(tmp_path) == []
    assert names(tmp_path) == sorted([mine.name, parent.name])


def test_a_temporary_file_of_another_machine_is_kept_for_a_day(tmp_path):
    path = leftover(tmp_path, host="elsewhere")
    assert remove_leftovers(tmp_path) == []
    old = time.time() - atomic_files.STALE_SECONDS - 60
    os.utime(path, (old, old))
    assert remove_leftovers(tmp_path) == [path.name]


def test_files_of_others_are_left_alone(tmp_path):
    for name in (".a.tmp", ".a.host-12-0123abcd.part", "a.rlkit-part", ".a.host-x-0123abcd.rlkit-part"):
        (tmp_path / name).write_bytes(b"")
    assert remove_leftovers(tmp_path) == []


KILLED = """
import sys
from rlkit.atomic_files import whole_file
while True:
    with whole_file(sys.argv[1]) as file:
        for _ in range(64):
            file.write(b"x" * 65536)
    print("written", flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a"
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(0.003 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert path.stat().st_size == 64 * 65536
        assert len(names(tmp_path)) <= 2
    write(path)
    assert names(tmp_path) == ["a"]


HOLDER = """
import sys
from rlkit.atomic_files import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_the_second_writer_is_told_who_the_first_is_and_a_killed_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    owner = f"process {holder.pid} on {socket.gethostname()} since "
    with pytest.raises(RuntimeError, match=owner), only_writer(tmp_path):
        pass
    assert json.loads((tmp_path / "LOCK.json").read_text(encoding="utf-8"))["process"] == holder.pid
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with only_writer(tmp_path):
        assert json.loads((tmp_path / "LOCK.json").read_text(encoding="utf-8"))["process"] == os.getpid()
    assert names(tmp_path) == ["LOCK"]


def test_a_lock_is_released_when_the_work_fails(tmp_path):
    with pytest.raises(KeyError), only_writer(tmp_path):
        raise KeyError
    with only_writer(Path(str(tmp_path))):
        pass
