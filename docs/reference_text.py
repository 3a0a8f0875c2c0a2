"""Text of the reference that is made from the code while the pages are built.

A page asks for it by a comment on a line of its own: ``<!-- api: rlkit.mdp -->`` becomes every public name of a module,
``<!-- modules -->`` the same of every single file of ``rlkit/``, ``<!-- commands -->`` the help of every command.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

REQUEST = re.compile(r"^<!-- (?:api: (?P<module>[\w.]+)|(?P<all>modules|commands)) -->$", re.MULTILINE)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
HELP_WIDTH = 88  # characters
COMMAND_PAGES = {  # where the manual explains a command, from the page of the commands
    "train": "../quickstart.md#train",
    "evaluate": "../quickstart.md#look",
    "solve": "solvers.md",
    "attack": "../manual/attacks.md#attacking-a-policy",
    "certify": "../manual/guarantees.md#verification",
    "transfer": "../manual/attacks.md#attacking-a-policy",
    "hijack": "../manual/attacks.md#hijacking",
    "zoo": "benchmark.md",
    "benchmark": "benchmark.md",
    "compare": "../quickstart.md#compare",
    "report": "../quickstart.md#look",
    "rerun": "../quickstart.md#a-sweep",
    "watch": "../quickstart.md#look",
    "sweep": "../experiments.md",
    "status": "../experiments.md",
    "tune": "../experiments.md",
    "export": "../experiments.md",
    "study": "../results/index.md",
    "demo": "../quickstart.md#install",
}
OF_ALGORITHMS = ("config_class", "presets", "checkpointed", "saved")  # what an algorithm says to its base class


def setup(app: Any) -> None:
    """Connect this module to Sphinx."""
    app.connect("source-read", insert)
    app.connect("autodoc-process-docstring", keep_colons, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", escape)


def insert(app: Any, docname: str, source: list[str]) -> None:
    """Replace the requests in the text of a page, ``source[0]``."""
    whole = {"modules": modules, "commands": commands}
    source[0] = REQUEST.sub(lambda found: api(found["module"]) if found["module"] else whole[found["all"]](), source[0])


def keep_colons(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading "this: that" of a property as a type and its description."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def escape(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape what Sphinx would misread in a docstring."""
    lines[:] = without_substitutions("\n".join(lines)).split("\n")


def without_substitutions(text: str) -> str:
    """Escape the bars of ``|x|`` outside literals, which reStructuredText would take for a substitution."""
    return re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", text, flags=re.DOTALL)


def public_names(module: ModuleType) -> list[str]:
    """``__all__``, or where there is none every name without underscore that the module defines."""
    return list(getattr(module, "__all__", None) or (name for name in definitions(module) if name[0] != "_"))


def definitions(module: ModuleType) -> dict[str, str]:
    """The names that a module defines, with the comment beside a constant or a type."""
    source = inspect.getsource(module)
    lines, found = source.split("\n"), {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            comment = lines[node.end_lineno - 1][node.end_col_offset :].strip().lstrip("# ")
            found |= {target.id: comment for target in targets if isinstance(target, ast.Name)}
    return found


def fields(cls: type) -> list[tuple[str, str, str]]:
    """Name, type and comment of the fields in the body of a class."""
    lines = inspect.getsource(cls).split("\n")
    (node,) = ast.parse(textwrap.dedent("\n".join(lines))).body
    assert isinstance(node, ast.ClassDef)
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id[0] != "_":
            line, above = lines[item.end_lineno - 1], lines[item.lineno - 2].strip()
            beside = line[item.end_col_offset :].strip()
            comment = beside or (above if above.startswith("#") else "")
            found.append((item.target.id, ast.unparse(item.annotation), comment.lstrip("# ")))
    return found


def homes(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Every public name with the module that defines it, in the order of the modules, and a constant's comment."""
    names = public_names(module)
    inner = [importlib.import_module(name) for name in submodules(module)]
    found: dict[str, tuple[str, str]] = {}
    for home in [module, *inner]:
        found |= {name: (home.__name__, comment) for name, comment in definitions(home).items() if name in names}
    return {name: found.get(name, (module.__name__, "")) for name in sorted(names, key=list(found).index)}


def submodules(module: ModuleType) -> Iterator[str]:
    """The modules below a package, in the order of the tree."""
    if module.__file__ and Path(module.__file__).name == "__init__.py":
        folder = Path(module.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] not in ("__init__", "__main__"):
                yield ".".join((module.__name__, *parts))


def api(name: str) -> str:
    """The public names of a module as Markdown for Sphinx, a section for every file that defines some."""
    module = importlib.import_module(name)
    pages: dict[str, list[str]] = {}
    for public, (home, comment) in homes(module).items():
        pages.setdefault(home, []).append(_entry(module, public, comment))
    texts = []
    for home, entries in pages.items():
        described = restructured(importlib.import_module(home).__doc__ or "") if home != name else ""
        heading = f"## `{home}`\n\n" if home != name else ""
        texts.append(heading + _rst("\n\n".join(filter(None, (described, *entries)))))
    return _rst(f".. module:: {name}\n\n{restructured(module.__doc__ or '')}") + "\n\n" + "\n\n".join(texts)


def modules() -> str:
    """The public names of every single file of ``rlkit/``, a section each."""
    import rlkit

    folder = Path(rlkit.__file__).parent
    names = [f"rlkit.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem[0] != "_"]
    return "\n\n".join(f"## `{name}`\n\n{api(name)}" for name in names)


def _entry(module: ModuleType, name: str, comment: str) -> str:
    value = getattr(module, name)
    if inspect.isclass(value):
        return _class(f"{module.__name__}.{name}", value)
    if inspect.isroutine(value):
        return f".. autofunction:: {module.__name__}.{name}"
    shown = f"\n   :value: {value!r}" if isinstance(value, (int, float, str)) else ""
    text = textwrap.indent(_plain(comment), "   ")
    return f".. py:data:: {name}\n   :module: {module.__name__}{shown}\n\n{text}"


def _class(name: str, cls: type) -> str:
    described = fields(cls)
    hidden = ", ".join(name for name, _, _ in described)
    body = "\n\n".join(
        f".. py:attribute:: {field}\n   :type: {annotation}\n\n   {_plain(comment)}"
        for field, annotation, comment in described
        if field not in OF_ALGORITHMS
    )
    options = f"   :members:\n   :exclude-members: {hidden}" if hidden else "   :members:"
    return f".. autoclass:: {name}\n{options}\n\n{textwrap.indent(body, '   ')}"


def _plain(comment: str) -> str:
    """A comment as reStructuredText: no star or bar of it is markup."""
    return re.sub(r"(``.*?``)|([|*])", lambda found: found[1] or rf"\{found[2]}", comment)


def _rst(text: str) -> str:
    return f"````{{eval-rst}}\n{text}\n````"


def restructured(docstring: str) -> str:
    """A module's docstring as reStructuredText: what is indented is shown as it stands."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(
        f"::\n\n{text}" if text.startswith("    ") else without_substitutions(text) for text in paragraphs
    )


def commands() -> str:
    """The help of every command, as Markdown, with a link to the page that explains it."""
    from rlkit.experiments.cli import COMMANDS

    return "\n\n".join(
        f"## rlkit {name}\n\nExplained in [](<{COMMAND_PAGES[name]}>).\n\n```text\n{help_of(name)}\n```"
        for name in COMMANDS
    )


def help_of(command: str) -> str:
    """Return the text of ``rlkit COMMAND --help`` without a terminal, its example wrapped as a terminal does."""
    from rlkit.experiments.cli import main

    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"NO_COLOR": "1", "COLUMNS": str(HELP_WIDTH)}),
        contextlib.redirect_stdout(printed),
    ):
        if code := main([command, "--help"]):
            raise RuntimeError(f"rlkit {command} --help ended with {code}")
    lines = ANSI.sub("", printed.getvalue()).strip("\n").split("\n")
    return "\n".join(line.rstrip() if line.startswith(" ") else textwrap.fill(line, HELP_WIDTH) for line in lines)
