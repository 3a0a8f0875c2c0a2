"""The pages build without a warning, hold every public name, and what the quickstart shows runs."""

import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest
from source_tree import ROOT, module_name, source_files

from rlkit.experiments.cli import COMMANDS, main

QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", QUICKSTART, re.DOTALL | re.MULTILINE)
INTERNAL = (
    *("__main__", "core", "compiled", "kernels", "methods", "experiments"),
    *("attacks", "victims", "measures", "verification", "exact", "defenses", "threats"),
)


def public_modules():
    """The packages and single modules that users import from."""
    for source in source_files():
        name = module_name(source)
        parts = name.split(".")
        if (source.name == "__init__.py" or len(parts) == 2) and not set(parts) & set(INTERNAL):
            yield name


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built pages."""
    folder = tmp_path_factory.mktemp("pages")
    # tests/test_tutorials.py runs the cells of the notebooks
    options = ["-W", "-q", "-D", "nb_execution_mode=off"]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_the_pages_build_without_a_warning(built):
    for page in ("architecture", "quickstart", "howto/agent", "reference/glossary", "results/learning", "changelog"):
        assert (built / f"{page}.html").is_file()


@pytest.mark.slow
def test_every_tutorial_can_be_downloaded_as_a_notebook(built):
    links = {
        page: re.findall(r'href="([\w-]+\.ipynb)"', page.read_text(encoding="utf-8"))
        for page in (built / "tutorials").glob("*.html")
        if page.stem != "index"
    }
    assert len(links) == 8
    for page, names in links.items():
        assert set(names) == {f"{page.stem}.ipynb"}
        notebook = json.loads((built / "tutorials" / names[0]).read_text(encoding="utf-8"))
        assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}


@pytest.mark.slow
def test_every_formula_leads_to_its_function(built):
    named = re.findall(r"\{py:\w+\}`([\w.]+)`", (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8"))
    assert len(named) > 25
    page = (built / "formulas.html").read_text(encoding="utf-8")
    for name in named:
        (target,) = set(re.findall(rf'href="(reference/api/\w+\.html)#{re.escape(name)}"', page))
        assert f'id="{name}"' in (built / target).read_text(encoding="utf-8")


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser_without_a_network(built):
    page = (built / "formulas.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 10
    assert "\N{PRIME}" in page  # s' has no apostrophe
    assert not re.findall(r'<(?:script|link)[^>]* (?:src|href)="https?:', page)


def test_numbers_of_a_table_stay_with_their_intervals(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    unbroken = importlib.import_module("whole_numbers").unbroken
    assert unbroken("493 ± 15 of 124 [-91, 158]") == "493\xa0±\xa015 of 124\xa0[-91,\xa0158]"
    assert unbroken("2 [see], 3 [S, B] and 1, 2") == "2 [see], 3 [S, B] and 1, 2"


@pytest.mark.slow
def test_a_long_cell_is_marked_and_a_short_one_is_not(built):
    cells = re.findall(
        r"<td([^>]*)><p>([^<]*)</p></td>", (built / "results" / "learning.html").read_text(encoding="utf-8")
    )
    assert {len(text) >= 40 for _, text in cells} == {True, False}
    assert all(("long" in attributes) == (len(text) >= 40) for attributes, text in cells if "&" not in text)


@pytest.mark.slow
def test_names_of_modules_are_not_underlined_like_links(built):
    style = (built / "_static" / "pygments.css").read_text(encoding="utf-8")
    assert len(names := re.findall(r"\.highlight \.nn \{([^}]*)\}", style)) >= 2
    assert not any("underline" in each for each in names)


@pytest.mark.slow
def test_a_section_comes_before_members_of_its_name_in_the_search(built):
    scores = (built / "_static" / "searchtools.js").read_text(encoding="utf-8") + (
        built / "_static" / "language_data.js"
    ).read_text(encoding="utf-8")
    title, name = (int(re.findall(rf"\b{word}: (\d+),", scores)[0]) for word in ("title", "objNameMatch"))
    assert title > name


@pytest.mark.slow
def test_a_command_in_a_text_leads_to_its_help(built):
    page = (built / "manual" / "attacks.html").read_text(encoding="utf-8")
    assert 'href="../reference/commands.html#rlkit-attack"' in page
    assert 'id="rlkit-attack"' in (built / "reference" / "commands.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(built):
    names = [
        f"{module}.{name}"
        for module in public_modules()
        for name in getattr(importlib.import_module(module), "__all__", ())
        if not name.startswith("__")
    ]
    assert len(names) > 200
    pages = "".join(page.read_text(encoding="utf-8") for page in (built / "reference" / "api").glob("*.html"))
    described = set(re.findall(r'<dt class="[^"]*" id="([\w.]+)">', pages))
    assert not [name for name in names if name not in described]


def test_every_public_module_has_a_page():
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference" / "api").glob("*.md")]
    requested = set(re.findall(r"<!-- api: ([\w.]+) -->", "".join(pages)))
    packages = {name for name in public_modules() if (ROOT / "rlkit" / name.partition(".")[2]).is_dir()}
    assert packages - {"rlkit"} <= requested
    assert any("<!-- modules -->" in page for page in pages)


@pytest.mark.slow
def test_every_command_is_in_the_reference(built):
    page = (built / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"usage: rlkit {name}" in page
        assert re.search(rf'id="rlkit-{name}".*?Explained in <a ', page, re.DOTALL)


@pytest.mark.slow
def test_the_programs_of_the_quickstart_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(PROGRAMS) == 3
    for program in PROGRAMS:
        exec(compile(program, "quickstart.md", "exec"), {})
    printed = capsys.readouterr().out
    returns = [float(number) for number in re.findall(r"[\d.]+", printed.splitlines()[0])]
    assert len(returns) == 4
    assert min(returns) > 475
    assert "natural 0.0" in printed
    assert "FGSM 0.2" in printed
    assert re.search(r"known to within [\d.e-]+; each seed loses \[", printed)


@pytest.mark.parametrize("command", re.findall(r"^rlkit .+$", QUICKSTART, re.MULTILINE))
def test_the_commands_of_the_quickstart_exist_with_their_options(command, capsys):
    _, name, *arguments = shlex.split(command)
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in text, f"{name} has no {option}"
