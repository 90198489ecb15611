"""What the README shows is true: its example runs, and its links lead somewhere."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example_of_the_readme_runs(tmp_path: Path) -> None:
    """The first thing a reader copies prints what it says it does."""
    found = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "example.py").write_text(found[1], encoding="utf-8")
    (tmp_path / "a.md").write_bytes(b"to be or not to be")
    (tmp_path / "b.md").write_bytes(b"that is the question\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    checksums = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.md", "b.md")
    ]
    assert done.stdout == f"{checksums[0]} a.md\n{checksums[1]} b.md\n10 words\n"


def test_links_of_the_readme_lead_somewhere() -> None:
    """Each path that the README links to exists."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
