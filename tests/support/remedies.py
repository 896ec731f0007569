"""What the messages of a room advise: every clause in its code that tells the reader to do
something.

In: the room's source. Out: clauses, such as "export it with float32", each up to its first value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import quarl

VERBS = (
    "add|ask|build|call|change|check|concatenate|convert|copy|distil|export|fetch|flatten|give|"
    "import|install|keep|load|omit|pip install|put|read|record|remove|rename|restore|retrain|run|"
    "save|say|see|set|slice|start|state|take|train|try|use|wrap|write|torch\\.\\w+|model\\.\\w+"
)
CLAUSE = re.compile(rf"(?:^|: |, |; |\. |\(|\bor )((?:{VERBS})\b[^:;,.({{]*)", re.IGNORECASE)
VALUE = "{"  # stands for what a message fills in


def clauses_in(room: str) -> dict[str, set[str]]:
    """Return clauses -> the modules that print them."""
    found: dict[str, set[str]] = {}
    root = Path(quarl.__file__).parent / room
    for file in sorted(root.rglob("*.py")):
        for text in _messages(ast.parse(file.read_text())):
            for match in CLAUSE.finditer(text):
                clause = " ".join(match[1].split())
                found.setdefault(clause, set()).add(str(file.relative_to(root)))
    return found


def _messages(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that become messages: no docstrings, no single words."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in docs or id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value
