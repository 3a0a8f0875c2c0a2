"""Files of arrays that are damaged, or made to hurt, are refused before anything of them is unpacked."""

import os
import struct
import tracemalloc
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit import array_files
from rlkit.array_files import load_arrays
from rlkit.mdp import TabularMDP, garnet

FIELDS = ("successor", "probability", "reward", "terminated", "start", "max_steps", "name", "available")


def npy(descr="<f8", shape=(2,), data=None, header=None, version=(1, 0)):
    """An ``.npy`` file; ``header`` replaces the description of dtype and shape."""
    text = header or repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + (bytes(16) if data is None else data)


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip of named contents, which may repeat a name."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            with pytest.warns() if name in file.namelist() else nullcontext():
                file.writestr(name, content)
    return path


MEMBERS = {
    "an empty member": [("a.npy", b"")],
    "no npy file": [("a.npy", b"a" * 80)],
    "a header that is cut": [("a.npy", npy()[:30])],
    "data that are cut": [("a.npy", npy()[:-1])],
    "data to spare": [("a.npy", npy() + b"0")],
    "version 9": [("a.npy", npy(version=(9, 0)))],
    "a header of nothing": [("a.npy", npy(header=b" "))],
    "a header of brackets": [("a.npy", npy(header=b"[" * 9000))],
    "a header of code": [("a.npy", npy(header=b"print(1)"))],
    "a header of bytes": [("a.npy", npy(header=b"\xff\xfe\x00"))],
    "a header without end": [("a.npy", npy(version=(2, 0))[:8] + struct.pack("<I", 2**31) + b" " * 100)],
    "a header of 100,000 bytes": [("a.npy", npy(version=(2, 0), header=b" " * 100_000))],
    "Python objects": [("a.npy", npy("|O", (1,), b"cos\nsystem\n(S'true'\ntR."))],
    "records": [("a.npy", npy([("x", "<f8"), ("y", "<f8")], (1,)))],
    "complex numbers": [("a.npy", npy("<c16", (1,)))],
    "dates": [("a.npy", npy("<M8[s]"))],
    "texts of no length": [("a.npy", npy("<U0", (10**12,), b""))],
    "bytes of no length": [("a.npy", npy("|V0", (10**12,), b""))],
    "a huge shape": [("a.npy", npy(shape=(2**62, 2)))],
    "an overflowing shape": [("a.npy", npy(shape=(2**32, 2**32, 0, 2), data=b"") + b"0")],
    "a negative shape": [("a.npy", npy(shape=(-2, -1)))],
    "a shape of booleans": [("a.npy", npy(shape=(True, 2)))],
    "a shape of floats": [("a.npy", npy(shape=(2.0,)))],
    "a name twice": [("a.npy", npy()), ("a.npy", npy())],
    "an unknown name": [("zzz.npy", npy())],
    "a name of a path": [("../a.npy", npy())],
    "a member without suffix": [("a.npy", npy()), ("b", npy()), ("c", npy())],
    "a hundred members": [(f"m{i}.npy", npy()) for i in range(100)],
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_members_that_are_wrong_are_refused(members, tmp_path):
    path = archive(tmp_path / "a.npz", members)
    with pytest.raises(ValueError, match=r"a\.npz is damaged \((?s:.{1,220})\): save it again$"):
        load_arrays(path, ("a", "b"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_numpy_does_not_write_are_refused(method, tmp_path):
    with pytest.raises(ValueError, match="packed or encrypted in a way that numpy does not write"):
        load_arrays(archive(tmp_path / "a.npz", [("a.npy", npy())], method), ("a",))


def test_an_encrypted_member_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", [("a.npy", npy())])
    raw = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + place] |= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="encrypted"):
        load_arrays(path, ("a",))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18, bytes(1000)])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    if content[2:] == b"\x05\x06" + bytes(18):  # an archive of nothing
        assert load_arrays(tmp_path / "a.npz", ("a",)) == {}
    else:
        with pytest.raises(ValueError, match=r"a\.npz is"):
            load_arrays(tmp_path / "a.npz", ("a",))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"not a \.npz file"):
        TabularMDP.load(tmp_path / "a.npz")


def bomb(path, states):
    """A table of zeros: 1000 times smaller than what it unpacks to."""
    types = {"successor": "<i4", "probability": "<f8", "reward": "<f8", "terminated": "|b1"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, descr in types.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy(descr, (states, 1, 1), b""))
                for _ in range(states * np.dtype(descr).itemsize // 2**20):
                    member.write(bytes(2**20))
    return path


@pytest.mark.slow
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused_unread(tmp_path, monkeypatch):
    path = bomb(tmp_path / "bomb.npz", 20 * 2**20)
    size = path.stat().st_size
    assert size < 500_000
    monkeypatch.setattr(array_files, "_unpacked", None)  # nothing is unpacked
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"holds arrays of 440,\d+,\d+ bytes, where at most 67,108,864 are unpacked"):
        TabularMDP.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_max_bytes_is_what_a_caller_allows(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(10))
    assert load_arrays(tmp_path / "a.npz", ("a",), (), 80)["a"].tolist() == list(range(10))
    with pytest.raises(ValueError, match=r"holds arrays of 80 bytes, where at most 79 are .*: pass max_bytes=80"):
        load_arrays(tmp_path / "a.npz", ("a",), (), 79)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    mdp = garnet(4, 2, 2, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("table") / "table.npz"
    mdp.save(path)
    return mdp, path.read_bytes()


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_table_with_changed_bytes_is_refused_or_is_the_same(data, table, tmp_path):
    mdp, raw = table
    places = st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255))
    changed = bytearray(raw)
    for place, byte in data.draw(st.lists(places, min_size=1, max_size=3)):
        changed[place] = byte
    path = tmp_path / "changed.npz"
    path.write_bytes(changed[: data.draw(st.sampled_from([len(raw), len(raw), len(raw) // 2]))])
    try:
        read = TabularMDP.load(path)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = "changed.npz"
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(read, field), getattr(mdp, field))
    assert "changed.npz" in refusal
    assert len(refusal) < 1000


def test_a_directory_that_hides_a_member_is_refused(table, tmp_path):
    raw = bytearray(table[1])
    entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x01\x02"))  # the last but one: name
    raw[entry + 30 : entry + 32] = struct.pack("<H", len(raw) - entry)  # the length of its further fields
    (tmp_path / "hidden.npz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"hidden\.npz is damaged"):
        TabularMDP.load(tmp_path / "hidden.npz")
