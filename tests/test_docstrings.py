"""Every public name has a docstring, and it mentions every argument where there are more than two."""

import importlib
import inspect
import pkgutil
import re

import pytest

import rlkit

MODULES = ["rlkit", *(info.name for info in pkgutil.walk_packages(rlkit.__path__, "rlkit."))]
ELSEWHERE = re.compile(
    r"[Aa]rguments(?: and errors)? (?:are those of|as of|as in) ``([\w.]+)``"
)  # a docstring that describes them


def public():
    """(module, name, object) of every name in an ``__all__``, once."""
    found = {}
    for module in MODULES:
        if not module.endswith("__main__"):
            loaded = importlib.import_module(module)
            for name in getattr(loaded, "__all__", ()):
                found.setdefault(id(getattr(loaded, name)), (loaded, name, getattr(loaded, name)))
    return list(found.values())


PUBLIC = public()
CLASSES = [(module, name, each) for module, name, each in PUBLIC if inspect.isclass(each)]
FUNCTIONS = [(module, name, each) for module, name, each in PUBLIC if inspect.isfunction(each)]


def methods(cls):
    """(name, function) of the public methods that a class of rlkit defines, properties included."""
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member.fget if isinstance(member, property) else member)
        if inspect.isfunction(function) and function.__module__.startswith("rlkit.") and not name.startswith("_"):
            yield name, function


def described(docstring, *scopes):
    """A docstring, with those of the functions in these classes or modules that it refers to for its arguments."""
    text = docstring or ""
    for reference in ELSEWHERE.findall(text):
        first, *rest = reference.split(".")
        target = next(getattr(scope, first) for scope in scopes if hasattr(scope, first))
        for part in rest:
            target = getattr(target, part)
        text += target.__doc__ or ""
    return text


def undescribed(function, text):
    """The parameters that a text does not mention, of a function with more than two."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    if len(names) <= 2:
        return []
    return [name for name in names if not re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize(("module", "name", "function"), FUNCTIONS, ids=[name for _, name, _ in FUNCTIONS])
def test_a_function_describes_its_arguments(module, name, function):
    assert function.__doc__
    assert not undescribed(function, described(function.__doc__, module))


@pytest.mark.parametrize(("module", "name", "cls"), CLASSES, ids=[name for _, name, _ in CLASSES])
def test_a_class_and_its_methods_describe_their_arguments(module, name, cls):
    own = vars(cls).get("__doc__") or ""
    assert own
    assert not own.startswith(f"{name}("), "dataclasses and named tuples make such a text themselves"
    for method, function in methods(cls):
        assert function.__doc__, f"{name}.{method} has no docstring"
        text = own + described(function.__doc__, cls, module)
        assert not undescribed(function, text), f"{name}.{method} does not describe {undescribed(function, text)}"
    # the fields of dataclasses and named tuples may be described by comments instead
    if "__init__" in vars(cls) and cls.__init__.__code__.co_filename != "<string>":
        text = own + described(cls.__init__.__doc__, cls, module)
        assert not undescribed(cls.__init__, text), f"{name} does not describe {undescribed(cls.__init__, text)}"


def test_the_public_names_are_found():
    assert len(PUBLIC) > 200
    assert undescribed(lambda first, second, third: None, "first and third") == ["second"]
