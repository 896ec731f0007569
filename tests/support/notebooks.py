"""Runs a notebook as a reader does: cell after cell in one namespace, each last value displayed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    table: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return table


def run_notebook(path: Path) -> list[Any]:
    """Run the code cells where the process stands; return what each displays, None for nothing."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(cells(path)):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]), f"{path.name}, cell {number}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.name}, cell {number}", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(
                compile(ast.Expression(last.value), f"{path.name}, cell {number}", "eval"), names
            )
        shown.append(display(value))
    return shown


def display(value: Any) -> Any:
    """Return what a notebook draws of a value: its own HTML, or its text."""
    if value is None:
        return None
    own = getattr(value, "_repr_html_", None)
    return repr(value) if own is None else own()
