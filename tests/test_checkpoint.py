"""Files of tensors: what was written is read, what was changed is refused, before anything large happens."""

import hashlib
import json
import struct
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from rlkit import checkpoint
from rlkit.checkpoint import DIGEST, MANIFEST, load_header, load_tensors, save_tensors

TENSORS = {
    "weights": torch.arange(12, dtype=torch.float32).view(3, 4) / 7,
    "flags": torch.tensor([True, False]),
    "count": torch.tensor(5),
    "bytes": torch.arange(3, dtype=torch.uint8),
    "nothing": torch.empty(0, 2),
}
CONTENTS = {"gamma": 0.99, "names": ["a", "b"], "limit": float("inf"), "inner": {"None": None}}
REFUSED = "is not a whole rlkit file, or was changed after it was written"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.safetensors"
    save_tensors(path, TENSORS, "a policy", CONTENTS)
    return path


def read(path):
    return load_tensors(path, ["a policy"])


def rewritten(path, change):
    """The file with another header: ``change`` edits the parsed one."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    return path


def with_manifest(path, change):
    """The file with another manifest whose digest is right."""

    def edit(header):
        manifest = json.loads(header["__metadata__"][MANIFEST])
        text = change(manifest) or manifest
        text = text if isinstance(text, str) else json.dumps(text)
        header["__metadata__"] = {MANIFEST: text, DIGEST: hashlib.sha256(text.encode()).hexdigest()}

    return rewritten(path, edit)


def test_what_was_written_is_read(path):
    found = read(path)
    assert (found.kind, found.schema, found.contents) == ("a policy", checkpoint.SCHEMA, CONTENTS)
    assert list(found.tensors) == list(TENSORS)  # in their order, which safetensors does not keep
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_another_program_reads_it_with_safetensors_and_json_alone(path):
    with safe_open(path, framework="np") as file:
        manifest = json.loads(file.metadata()["rlkit.manifest"])
        weights = file.get_tensor("weights")
    assert manifest["kind"] == "a policy"
    entry = manifest["tensors"]["weights"]
    assert (entry["dtype"], entry["shape"]) == ("F32", [3, 4])
    assert hashlib.sha256(weights.tobytes()).hexdigest() == entry["sha256"]


@pytest.mark.slow
def test_every_flipped_bit_is_refused(path):
    raw = path.read_bytes()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"rlkit|bytes|kind"):
            read(path)


def test_every_cut_and_every_addition_is_refused(path):
    raw = path.read_bytes()
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=REFUSED):
            read(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(ValueError, match=REFUSED):
        read(path)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(content, tmp_path):
    path = tmp_path / "random"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"rlkit"):
        read(path)


def test_what_was_never_such_a_file_is_not_called_cut_short(path, tmp_path):
    raw = path.read_bytes()
    for content in (b"", b"hello\n", b"a text of more than eight bytes"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="does not begin like one, so rlkit may never have written it"):
            read(path)
    path.write_bytes(raw[:300])
    with pytest.raises(ValueError, match="cut short"):
        read(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*: a file stands in its way where a folder is needed"):
        read(path / "below")


def test_other_kinds_newer_schemas_and_files_of_others_are_named(path, tmp_path):
    with pytest.raises(ValueError, match="holds a policy, and not a run or a table"):
        load_tensors(path, ["a run", "a table"])
    with pytest.raises(ValueError, match=r"in schema 99; this rlkit .* reads schemas up to 1: update rlkit"):
        read(with_manifest(path, lambda manifest: manifest.update(schema=99)))
    with pytest.raises(ValueError, match=rf"in schema {checkpoint.SCHEMA + 1}; .*: update rlkit"):
        read(with_manifest(path, lambda manifest: manifest.update(schema=checkpoint.SCHEMA + 1)))
    save_file({"a": torch.zeros(2)}, tmp_path / "b", {"format": "pt"})
    with pytest.raises(ValueError, match="is a safetensors file, but rlkit did not write it"):
        read(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="is a zip archive, such as stable-baselines3 writes"):
        read(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a folder: give the file in it"):
        read(tmp_path)


def test_a_file_of_before_the_manifest_is_read(tmp_path):
    save_file({"a": torch.arange(3)}, tmp_path / "old", {"rlkit.agent": json.dumps({"seeds": [1]})})
    found = load_tensors(tmp_path / "old", ["a policy"], {"rlkit.agent": "a policy"})
    assert (found.schema, found.contents, found.tensors["a"].tolist()) == (0, {"seeds": [1]}, [0, 1, 2])
    with pytest.raises(ValueError, match="did not write it"):
        load_tensors(tmp_path / "old", ["a policy"])


HEADERS = {
    "a list": lambda header: b"[]",
    "a number": lambda header: b"7",
    "nothing": lambda header: b"",
    "no text": lambda header: b"\xff\xfe\x00",
    "nested": lambda header: b"[" * 100_000,
    "twice": lambda header: b'{"a": 1, "a": 1}',
    "NaN": lambda header: b'{"__metadata__": NaN}',
    "digits": lambda header: b'{"a": ' + b"9" * 10_000 + b"}",
    "no metadata": lambda header: header.pop("__metadata__") and None,
    "metadata of numbers": lambda header: header["__metadata__"].update(extra=1),
    "metadata of lists": lambda header: header.update(__metadata__=[]),
    "another entry": lambda header: header["__metadata__"].update(extra="1"),
    "no digest": lambda header: header["__metadata__"].pop(DIGEST) and None,
    "unknown dtype": lambda header: header["weights"].update(dtype="F8"),
    "other dtype": lambda header: header["weights"].update(dtype="I32"),
    "other shape": lambda header: header["weights"].update(shape=[4, 3]),
    "negative shape": lambda header: header["weights"].update(shape=[-3, -4]),
    "huge shape": lambda header: header["weights"].update(shape=[2**62, 4]),
    "shape of booleans": lambda header: header["flags"].update(shape=[True, 2]),
    "shape of floats": lambda header: header["weights"].update(shape=[3.0, 4.0]),
    "no offsets": lambda header: header["weights"].pop("data_offsets") and None,
    "three offsets": lambda header: header["weights"]["data_offsets"].append(1),
    "huge offsets": lambda header: header["weights"].update(data_offsets=[0, 2**62]),
    "overlapping": lambda header: header["bytes"].update(data_offsets=[0, 3]),
    "tensor is a text": lambda header: header.update(weights="F32"),
    "one more tensor": lambda header: header.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
    "one tensor fewer": lambda header: header.pop("nothing") and None,
    "another name": lambda header: header.update(other=header.pop("nothing")),
}
MANIFESTS = {
    "a list": lambda manifest: "[]",
    "nested": lambda manifest: "[" * 100_000,
    "no JSON": lambda manifest: "{",
    "twice": lambda manifest: '{"schema": 1, "schema": 1}',
    "no schema": lambda manifest: manifest.pop("schema") and None,
    "schema 0": lambda manifest: manifest.update(schema=0),
    "schema true": lambda manifest: manifest.update(schema=True),
    "schema of text": lambda manifest: manifest.update(schema="1"),
    "no contents": lambda manifest: manifest.pop("contents") and None,
    "contents of a list": lambda manifest: manifest.update(contents=[]),
    "no kind": lambda manifest: manifest.pop("kind") and None,
    "unknown entry": lambda manifest: manifest.update(extra=1),
    "no tensors": lambda manifest: manifest.pop("tensors") and None,
    "tensors of a list": lambda manifest: manifest.update(tensors=[]),
    "other dtype": lambda manifest: manifest["tensors"]["weights"].update(dtype="F64"),
    "no shape": lambda manifest: manifest["tensors"]["weights"].pop("shape") and None,
    "other digest": lambda manifest: manifest["tensors"]["weights"].update(sha256="0" * 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_wrong_is_refused(change, path):
    with pytest.raises(ValueError, match=r"rlkit"):
        read(rewritten(path, change))


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_is_wrong_is_refused_though_its_digest_is_right(change, path):
    with pytest.raises(ValueError, match=REFUSED):
        read(with_manifest(path, change))


def test_a_name_that_stands_twice_is_refused_though_all_else_is_right(path):
    def repeat(header):
        return f'{json.dumps(header)[:-1]}, "__metadata__": {json.dumps(header["__metadata__"])}}}'.encode()

    with pytest.raises(ValueError, match="'__metadata__' occurs twice"):
        load_header(rewritten(path, repeat), ["a policy"])


def test_nan_in_a_manifest_is_refused_though_all_else_is_right(tmp_path):
    save_tensors(tmp_path / "file", TENSORS, "a policy", {"gamma": float("nan")})
    with pytest.raises(ValueError, match="it holds NaN"):
        read(tmp_path / "file")


@pytest.mark.slow
def test_a_header_is_refused_before_anything_large_is_read(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**31))
        file.truncate(2**31 + 100)  # sparse: no disk is used
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
    text = json.dumps(many).encode()
    (tmp_path / "many").write_bytes(struct.pack("<Q", len(text)) + text)
    tracemalloc.start()
    with pytest.raises(ValueError, match="has a header of 2,147,483,648 bytes: rlkit reads at most 4,194,304"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    with pytest.raises(ValueError, match="holds 20,000 tensors: rlkit reads at most 10,000"):
        read(tmp_path / "many")
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_the_header_is_read_without_the_tensors(path):
    header = load_header(path, ["a policy"])
    assert header.contents == CONTENTS
    assert header.tensors == {}
