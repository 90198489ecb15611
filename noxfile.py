"""The jobs of a developer and of CI: ``nox -s lint types imports tests docs examples bench``.

With ``nox -s NAME`` a session makes an environment of its own out of the pinned,
hashed sets in ``requirements/``. With ``nox --no-venv -s NAME`` it runs in the
environment at hand, which then holds ``requirements/dev.txt`` and the project.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "imports", "types", "examples", "docs", "tests"]
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
RAYS_PYTHON = "3.13"  # the newest that Ray has wheels for
# Of the suite that all backends pass: what shows in two minutes whether an engine keeps its word.
SHOWN_ON_ENGINES = ["tests/contract/test_submit.py", "tests/contract/test_sharing.py"]
ROOT = Path(__file__).parent
TYPED = ["src", "tests", "examples"]


def install(session: nox.Session, requirements: str = "dev") -> None:
    """Fill the session's environment, unless it is the one at hand."""
    if not session.virtualenv.is_sandboxed:
        return
    session.install("--require-hashes", "-r", f"requirements/{requirements}.txt")
    session.install("--no-deps", "--no-build-isolation", "-e", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, rules, docstrings; ``nox -s lint -- --fix`` mends what can be mended."""
    install(session)
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix")
        session.run("ruff", "format")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("numpydoc", "lint", *map(str, (ROOT / "src").rglob("*.py")))
    session.run("python", "tools/house_rules.py")


@nox.session
def imports(session: nox.Session) -> None:
    """Hold the imports inside the package against the list of layers."""
    install(session)
    session.run("lint-imports", "--no-logo")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types twice, by mypy and pyright, for the oldest and the newest Python."""
    install(session)
    for version in (PYTHONS[0], PYTHONS[-1]):
        session.run("mypy", "--python-version", version)
        session.run("pyright", "--warnings", "--pythonversion", version)
    session.run("python", "-m", "pytest", "-q", "tests/typing")  # what both have to refuse


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite on one Python: ``nox -s tests-3.12 -- tests/unit -k queue``."""
    install(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=RAYS_PYTHON)
def engines(session: nox.Session) -> None:
    """Test with the heavy ones: scikit-learn, tornado, gRPC, botocore's transfers, dask, ray.

    All of the suite that every backend passes takes half an hour on these:
    ``nox -s engines -- tests/contract``, or of one with ``WORKPOOL_TEST_BACKENDS=ray`` before it.
    """
    install(session, "engines")
    session.run(
        *("python", "-m", "pytest", "--timeout=180"),  # one test may have to start a cluster
        *(session.posargs or ["tests/engines", *SHOWN_ON_ENGINES]),
        env={"WORKPOOL_TEST_BACKENDS": os.environ.get("WORKPOOL_TEST_BACKENDS", "dask,ray")},
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the suite under coverage, worker processes included, and hold it to the limit."""
    install(session, "test")
    session.run("coverage", "erase")
    try:
        session.run("coverage", "run", "-m", "pytest", *session.posargs)
    finally:  # what was measured is worth seeing, also when a test failed
        # The last to write are processes that end when they notice that the tests have.
        time.sleep(2.0)
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """Run the examples and compare what they print."""
    install(session, "test")
    session.run("python", "-m", "pytest", "tests/examples", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error, and nothing is fetched."""
    install(session)
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-n", "-q", "docs", "docs/_build/html")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, and try the wheel in an environment that holds nothing else."""
    install(session)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", "dist")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    bare = Path(session.create_tmp()) / "bare"
    session.run("python", "-m", "venv", "--clear", str(bare))
    python = str(bare / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(python, "-I", "tests/smoke/installed.py", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers, paired in one run: ``nox -s bench -- --quick``."""
    install(session)
    if session.virtualenv.is_sandboxed:
        session.install("-r", "benchmarks/requirements.txt")  # a peer that is missing is left out
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write the pinned sets anew: hashes, no addresses, good for every supported Python."""
    install(session)
    common = [
        "--universal",
        "--python-version=3.11",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--quiet",
        *session.posargs,  # such as --upgrade
    ]
    compile_ = ["uv", "pip", "compile", "pyproject.toml", *common]
    session.run(*compile_, "--group=dev", "--output-file=requirements/dev.txt")
    for name in ("test", "engines"):
        session.run(
            *compile_,
            f"--group={name}",
            "--group=build",
            "--constraint=requirements/dev.txt",
            f"--output-file=requirements/{name}.txt",
        )
