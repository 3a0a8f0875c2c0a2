"""The source files of the package, and where the wheel holds them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"rlkit": "rlkit", "envs": "rlkit/envs", "agents": "rlkit/agents", "experiments": "rlkit/experiments"}


def source_files() -> list[Path]:
    """Every .py file of the four folders, relative to the root; a virtual environment inside one does not count."""
    paths = {folder: (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")) for folder in FOLDERS}
    foreign = [config.parent.relative_to(ROOT) for folder in FOLDERS for config in (ROOT / folder).rglob("pyvenv.cfg")]
    return sorted(
        path
        for folder in FOLDERS
        for path in paths[folder]
        # rlkit/envs and its like are links to folders that are counted themselves
        if not (ROOT / Path(*path.parts[:2])).is_symlink() and not any(path.is_relative_to(venv) for venv in foreign)
    )


def installed_path(source: Path) -> Path:
    """Where a source file lies in the wheel."""
    return Path(FOLDERS[source.parts[0]], *source.parts[1:])


def module_name(source: Path) -> str:
    """The dotted name that a source file is imported by."""
    parts = installed_path(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
