"""How Sphinx builds these pages: without a network, and with every warning an error."""

from __future__ import annotations

import tomllib
import zlib
from pathlib import Path

import workpool

HERE = Path(__file__).parent

project = "workpool"
author = "The workpool authors"
project_copyright = f"2026, {author}"
version = release = workpool.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
]
exclude_patterns = ["_build"]

# ---------------------------------------------------------------- pages

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"workpool {release}"
# No fonts, scripts or badges from elsewhere; pages open from a folder as well as from a server.
html_static_path: list[str] = []

# ---------------------------------------------------------------- reference

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False  # the pages say what they show
numpydoc_xref_param_type = False
# One list for this build and for the command `numpydoc lint` (see pyproject.toml).
_pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
numpydoc_validation_checks = set(_pyproject["tool"]["numpydoc_validation"]["checks"])
numpydoc_validation_exclude = set(_pyproject["tool"]["numpydoc_validation"]["exclude"])

# ---------------------------------------------------------------- references to other places

nitpicky = True
nitpick_ignore_regex = [
    # Type variables: they stand in signatures and have no page.
    (r"py:(class|obj|data)", r"(.*\.)?_?(P|R|S|T|T_co|T_contra|Ts|K|V)\d?(\.args|\.kwargs)?"),
    # Choices and types that signatures name as the source does; the text beside them says what they are.
    (
        r"py:class",
        r"AbstractContextManager|Asked|BackendName|Future|Random|Scope|StartMethod|workpool\..*\.(_\w+|Home|MapTerms)",
    ),
    # Words that numpydoc takes for types: "float or None, seconds", "{'thread', 'process'}".
    (r"py:class", r"optional|default.*|seconds|callable|iterable|sequence|iterator|of|.*['\" ].*"),
]


def _python_inventory() -> str:
    """Make an inventory, in Sphinx's own form, of the list in python-names.txt."""
    rows: list[str] = []
    kind = page = ""
    for line in (HERE / "python-names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind, page = line.strip("[]").split()
        elif line and not line.startswith("#"):
            domain = "std" if kind == "term" else "py"
            anchor = f"term-{line.replace(' ', '-')}" if kind == "term" else "$"
            if kind == "module":
                anchor = f"module-{line}"
            rows.append(f"{line} {domain}:{kind} 1 {page}#{anchor} -\n")
    head = "# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path = HERE / "_build" / "python.inv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head.encode() + zlib.compress("".join(rows).encode()))
    return str(path)


intersphinx_mapping = {"python": ("https://docs.python.org/3", _python_inventory())}
