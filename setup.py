"""What pyproject.toml cannot say: the README as an index shows it, with links that lead somewhere.

In the repository its links are relative. A wheel carries no docs, so here they are made absolute,
below the address that [project.urls] names.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
PLACE = re.compile(r'(\]\(|<img src=")(?!https?://|#)([^)"\s]+)')
PICTURES = (".png", ".gif", ".svg")


def readme() -> str:
    """Return README.md with absolute links: pages as pages, pictures as files."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link[2].endswith(PICTURES) else "blob"
        return f"{link[1]}{urls['Source']}/{kind}/main/{link[2]}"

    return PLACE.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8"))


setup(long_description=readme(), long_description_content_type="text/markdown")
