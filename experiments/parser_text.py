"""Texts of the argument parser, made readable: help fits the terminal, and an error is one line."""

from __future__ import annotations

import ast
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

FRAME = " -─│╭╮╰╯"  # what it draws around its messages
COLOR = r"\x1b\[[0-9;]*m"  # what it writes around words for a terminal
UNREAD = r"Error parsing (\S+): (.*?) Argument helptext: (.*)(?= For full helptext)"
LONGEST = 400  # characters of a message


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what the parser says before it ends the process into a ValueError of one line; help passes."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except AssertionError as error:  # of its own arguments, such as an unknown shell
        raise ValueError(str(error)) from error
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(one_line(said.getvalue())[:LONGEST]) from None


def one_line(message: str) -> str:
    """Write what the parser says in a box as one line: without title, frame, colors and the texts of its options.

    The choices of an option become a plain list, and a value that is no number is named.
    """
    plain = re.sub(COLOR, "", message)
    words = " ".join(line.strip(FRAME) for line in plain.splitlines()[1:]).split()
    sentence = re.sub(r" (?=[.,]( |$))", "", " ".join(words))  # a full stop that was wrapped
    sentence = re.sub(UNREAD, unread_value, sentence)
    sentence = sentence.replace("Expected 1 values", "Expected 1 value")
    return re.sub(r"Expected one of \((.*?),?\)", listed_choices, sentence)


def listed_choices(found: re.Match[str]) -> str:
    """List the choices of an option in plain words; those of an option that may be left out come in no order."""
    choices = found[1].replace("'", "").split(", ")
    given = sorted(name for name in choices if name != "None") if "None" in choices else choices
    return f"Expected one of {', '.join(given)}"


def unread_value(found: re.Match[str]) -> str:
    """Say what an option expects and which of its values is no number, instead of the types that the parser tried.

    Args:
        found: an error of the parser, whose groups are the option, the reason and the help of the option.
    """
    option, reason, described = found.groups()
    union = re.search(r"no type matching (.*?) could be", reason)
    shape = union[1] if union else re.split(r"[a-z]", described.removeprefix(option.strip(FRAME)), maxsplit=1)[0]
    values = re.search(r"(?:from|arguments:) (\[.*?\])(?=\. |$)|: ('.*')$", reason)
    whole = "INT" in shape or "int()" in reason
    if values is None or not (whole or "FLOAT" in shape or "to float" in reason):
        return f"Error parsing {option}: {reason}"
    noun, count = "whole number" if whole else "number", shape.count("INT" if whole else "FLOAT")
    expected = f"{noun}s" if "..." in shape else f"{count} {noun}s" if count > 1 else f"a {noun}"
    given = ast.literal_eval(values[1] or f"[{values[2]}]")
    wrong = [repr(value) for value in given if not is_number(value, whole)]
    return f"{option} expects {expected}, got {wrong[0] if wrong else ' '.join(given) or 'none'}."


def is_number(text: str, whole: bool) -> bool:
    """Whether a text is a number, or a whole one."""
    try:
        int(text) if whole else float(text)
    except ValueError:
        return False
    return True


def joined_lines(docstring: str) -> str:
    """A docstring whose paragraphs and argument descriptions are one line each, so that the parser can wrap them."""
    hanging = re.sub(r"\n {8,}(?=\S)", " ", docstring)
    return re.sub(r"(?<=[^\n:])\n(?=\S)", " ", hanging)


class HelpScreen(io.StringIO):
    """Collects the help that the parser writes for ``screen``, with the colors and frames that this one can show."""

    def __init__(self, screen: TextIO) -> None:
        super().__init__()
        self.screen = screen

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        """Encoding of the screen."""
        return self.screen.encoding

    def isatty(self) -> bool:
        """Whether the screen is a terminal."""
        return self.screen.isatty()


@contextmanager
def help_that_fits() -> Iterator[None]:
    """Wrap by words the paragraphs of help that are wider than the terminal; the parser wraps only what it frames."""
    said = HelpScreen(sys.stdout)
    try:
        with redirect_stdout(said):
            yield
    finally:
        print(wrapped(said.getvalue(), shutil.get_terminal_size().columns), end="")


def wrapped(text: str, columns: int) -> str:
    """Wrap lines that are longer than ``columns`` by words; an example stays one line, so that it can be copied."""
    return "".join(
        line
        if line.startswith("Example:") or len(re.sub(COLOR, "", line.rstrip())) <= columns
        else textwrap.fill(line, columns, break_long_words=False, break_on_hyphens=False) + "\n"
        for line in text.splitlines(keepends=True)
    )
