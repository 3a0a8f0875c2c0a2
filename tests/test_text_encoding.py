"""Text is read and written as UTF-8, whatever the locale says."""

import ast

import pytest
from source_tree import ROOT, source_files

NO_TEXT_FILE = {"Image", "os", "tarfile", "archive"}  # whose ``open`` takes no encoding
FILES = [*(ROOT / source for source in source_files()), *sorted((ROOT / "tests").rglob("*.py"))]


def opens_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call leaves the encoding of a text file to the locale."""
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and not is_binary(call.args[1:])
    if not isinstance(call.func, ast.Attribute):
        return False
    receiver = ast.unparse(call.func.value).partition("(")[0]
    opens = call.func.attr == "open" and receiver not in NO_TEXT_FILE and not is_binary(call.args)
    return opens or call.func.attr in ("read_text", "write_text")


def is_binary(arguments: list[ast.expr]) -> bool:
    """Whether the first argument is a mode with a b in it."""
    return any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in arguments[:1])


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("open(p, 'rb')", False),
        ("p.read_text()", True),
        ("(p / 'b').read_text(encoding='utf-8')", False),
        ("p.open(newline='')", True),
        ("p.open('wb')", False),
        ("Image.open(p)", False),
        ("p.write_text('hello')", True),
    ],
)
def test_the_check_sees_what_it_should(code, wrong):
    assert opens_text_without_encoding(ast.parse(code).body[0].value) is wrong


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_file_is_opened_as_utf_8(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    found = [call.lineno for call in calls if opens_text_without_encoding(call)]
    assert not found, f"pass encoding='utf-8' in lines {found}"
