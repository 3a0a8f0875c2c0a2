"""What the README shows is true: its snippets run, its commands have the options it names, its files are there."""

import re
import shlex

import pytest
from source_tree import ROOT

from rlkit.experiments.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"^rlkit .+$", README, flags=re.MULTILINE)


@pytest.mark.slow
def test_the_python_snippets_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(SNIPPETS) >= 3
    for snippet in SNIPPETS:
        exec(compile(snippet, "README.md", "exec"), {})
    output = capsys.readouterr().out
    assert "optimum -13, learned [-13. -13. -13. -13.]" in output
    returns = {name: float(value) for name, value in re.findall(r"^(.+ [\d.]+): (\d+)$", output, flags=re.MULTILINE)}
    assert min(map(float, re.search(r"^returns \[(.+)\]$", output, re.MULTILINE)[1].split())) >= 475.0  # every seed
    assert returns["natural 0.0"] >= 475.0
    assert returns["FGSM 0.2"] < 0.5 * returns["natural 0.0"]
    assert (tmp_path / "cartpole.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_exist_with_their_options(command, capsys):
    _, name, *arguments = shlex.split(command, comments=True)
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in text, f"{name} has no {option}"


def test_every_file_named_is_there():
    named = re.findall(r"`((?:rlkit|envs|agents|experiments|docs|tests)/[\w/.]*)`", README)
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_link_leads_to_a_file_and_a_heading():
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([\w-]+))?\)", README)
    assert len(links) > 8
    for path, anchor in links:
        assert (ROOT / path).exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]


def test_the_two_commands_are_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"\n{target}:" in makefile
        assert f"make {target}" in README
