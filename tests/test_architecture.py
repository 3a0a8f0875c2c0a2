"""The structure, read from the code: arrows point down and there are no circles, not even of types or in functions."""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest
from source_tree import ROOT, module_name, source_files

# folder -> the folders it may import from, itself included
ALLOWED = {
    "rlkit": {"rlkit"},
    "envs": {"rlkit", "envs"},
    "agents": {"rlkit", "envs", "agents"},
    "experiments": {"rlkit", "envs", "agents", "experiments"},
}


def folder_of(module: str) -> str:
    """The folder that an rlkit module comes from: rlkit.envs.cartpole -> envs, rlkit.mdp.tabular -> rlkit."""
    second = [*module.split("."), ""][1]
    return second if second in ALLOWED and second != "rlkit" else "rlkit"


@cache
def tree_of(source: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse((ROOT / source).read_text(encoding="utf-8"))


@cache
def imports(source: Path) -> list[str]:
    """The rlkit module of every import of this package in a file, those inside functions and for types included."""
    name = module_name(source)
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return [module for module in found if module.split(".")[0] == "rlkit"]


MODULES = {module_name(source): source for source in source_files()}


COMMAND_LINE = Path("rlkit/__main__.py")  # python -m rlkit, the one file of rlkit/ that opens the top of the house


@pytest.mark.slow
def test_arrows_point_down():
    for source in source_files():
        if source != COMMAND_LINE:
            above = {module for module in imports(source) if folder_of(module) not in ALLOWED[source.parts[0]]}
            assert not above, f"{source} imports {above}"


def package_of(module: str) -> str:
    """The package at the second level that holds a module: rlkit.planning.bounds -> rlkit.planning."""
    return ".".join(module.split(".")[:2])


PACKAGES = {package_of(module_name(source)) for source in source_files() if source.name == "__init__.py"}
# reached through the package above them
INNER = {"core", "kernels", "methods", "attacks", "victims", "measures", "verification", "exact", "defenses", "threats"}


@pytest.mark.slow
def test_imports_are_relative_inside_a_package_and_absolute_across():
    for source in source_files():
        package = package_of(module_name(source))
        for node in ast.walk(tree_of(source)):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("rlkit."):
                inside = package_of(node.module) == package and package in PACKAGES
                assert not inside, f"{source} should import {node.module} relatively"


@pytest.mark.slow
def test_inner_folders_are_reached_through_their_package():
    for source in source_files():
        package = package_of(module_name(source))
        if source.parts[:2] == ("experiments", "benchmarks"):
            continue  # what is timed are the insides
        for module in imports(source):
            if package_of(module) in PACKAGES - {package, "rlkit"}:
                assert not INNER & set(module.split(".")[2:]), f"{source} reaches into {module}"


def test_agents_call_two_things_of_envs():
    names = set()
    for source in source_files():
        if source.parts[0] == "agents":
            names |= {module for module in imports(source) if module.startswith("rlkit.envs")}
            text = (ROOT / source).read_text(encoding="utf-8")
            names |= set(re.findall(r"rlkit\.envs\.\w+", text))
    assert names <= {"rlkit.envs", *(f"rlkit.envs.{name}" for name in ("make", "registered_id", "Dynamics"))}, names


@pytest.mark.slow
def test_there_are_no_circles():
    arrows = {
        name: {module for module in imports(source) if module in MODULES and module != name}
        for name, source in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for next_name in sorted(arrows[name]):
                visit(next_name, (*path, name))
            done.add(name)

    for name in sorted(arrows):
        visit(name, ())


def test_no_forbidden_names():
    forbidden = {"utils", "helpers", "manager", "util", "helper", "misc"}
    assert not {str(source) for source in source_files() if forbidden & set(source.with_suffix("").parts)}


def test_nothing_seeds_or_reads_a_global_generator():
    wrong = ("torch.manual_seed", "np.random.seed", "random.seed(", "np.random.rand", "torch.rand(", "torch.randn(")
    for source in source_files():
        if source.parts[0] == "experiments":
            continue  # stable-baselines3 needs its global seeds
        text = (ROOT / source).read_text(encoding="utf-8")
        assert not [call for call in wrong if call in text], source


@pytest.mark.slow
def test_no_class_name_stands_twice():
    classes = [
        node.name
        for source in source_files()
        for node in tree_of(source).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert not {name for name in classes if classes.count(name) > 1}


BRITISH = (
    r"colour|neighbour|behaviour|favour|honour|labour|flavour|centre|metre(?!n)|fibre|grey|defence|licence|catalogue|analogue"
    r"|judgement|fulfil(?!l)|distil(?!l)|modell|labell|travell|signall|cancell(?!ation)|artefact|programme(?!d|r)"
    r"|(?:optim|normal|initial|linear|general|maxim|minim|regular|discret|vector|serial|summar|organ|standard|random"
    r"|categor|custom|util|real|penal|stabil|priorit|factor|final|memor|equal|quant|parametr|emphas|material|special"
    r"|local|synchron|symbol|visual|character|harmon|capital|parallel)is(?:e|ing|ation|er)|analys(?:e(?!s)|ing)"
)


@pytest.mark.slow
def test_identifiers_are_spelled_as_in_america():
    for path in (*source_files(), *(file.relative_to(ROOT) for file in (ROOT / "tests").rglob("*.py"))):
        with (ROOT / path).open("rb") as file:
            names = {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}
        british = {name for name in names if re.search(BRITISH, name.lower())}
        assert not british, f"{path} has {', '.join(sorted(british))}"
