"""The table of sources as a page: `python -m tests.support.sources.table --write` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.sources import SAMPLES

DOCUMENT = Path(__file__).parents[3] / "toolchain" / "docs" / "sources.md"
PAGE = Path(__file__).with_name("page.md")


def document() -> str:
    """Return the page."""
    rows = []
    for sample in SAMPLES:
        result = "read"
        if sample.refusal:
            result = f"refused; {sample.way}"
        elif sample.source.startswith("int8"):
            result = "integers"
        elif sample.source.startswith(("dynamic-range", "16x8")):
            result = "read, `means`"
        rows.append(f"| {sample.source} | {sample.operators} | {sample.space} | {result} |\n")
    read = sum(not sample.refusal for sample in SAMPLES)
    count = f"{read} of {len(SAMPLES)} are read."
    page = PAGE.read_text().replace("@ROWS@\n", "".join(rows))
    return page.replace("@COUNT@", f"\n{count}")


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(document())
    else:
        print(document())
