"""Texts of the argument parser, made readable: help fits the terminal, and an error is one line."""

from __future__ import annotations

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
NO_QUOTES = str.maketrans("", "", "()'")
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

    The choices of an option become a plain list.
    """
    plain = re.sub(COLOR, "", message)
    words = " ".join(line.strip(FRAME) for line in plain.splitlines()[1:]).split()
    sentence = re.sub(r" (?=[.,]( |$))", "", " ".join(words))  # a full stop that was wrapped
    sentence = re.sub(r" Argument helptext: .*(?= For full helptext)", "", sentence)
    return re.sub(r"Expected one of \((.*?),?\)", lambda found: found[0].translate(NO_QUOTES), sentence)


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
