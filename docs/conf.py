"""Sphinx settings: `make docs` builds the pages into docs/_build."""

import os
import sys
from pathlib import Path

import rlkit

sys.path.insert(0, str(Path(__file__).parent))

project = "rlkit"
author = "The rlkit developers"
copyright = author
release = rlkit.__version__
extensions = [
    *("myst_nb", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon"),
    *("reference_text", "command_links", "notebook_files", "mathml", "whole_numbers"),
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build", "jupyter_execute"]  # what a build leaves beside the sources

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"rlkit {release}"
html_static_path = ["_static"]
html_css_files = ["rlkit.css"]
pygments_dark_style = "a11y-dark"  # furo's own underlines names of modules as if they were links
html_search_scorer = str(Path(__file__).with_name("search_scores.js"))  # sections come before members of classes

# the notebooks of tutorials/ run while the pages are built; an error or a warning in one fails the build
nb_execution_mode = "auto"
os.environ["JUPYTER_COLUMNS"] = "96"  # characters of a table that a notebook prints: a line of the narrow page
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True  # what a cell prints is one box, however it arrives
nb_output_stderr = "remove"  # a first training says there that it compiles; tests/test_tutorials.py refuses warnings

napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_use_type_comments = False  # there are none, and looking for them reads every source once more
autodoc_typehints_description_target = "documented"
