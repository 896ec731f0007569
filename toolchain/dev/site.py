"""What the documentation site takes from the code: the command line, the Python functions, the keys
of TOML files and the checks of the gate.

MkDocs calls `on_files` and `on_page_markdown` (mkdocs.yml names this file as a hook).
"""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import quarl
from quarl.boards.linux import LinuxBoard
from quarl.boards.microcontroller import Board
from quarl.bundle.limits import Limits
from quarl.cli.app import app
from quarl.files.tables import key_rows
from quarl.sources.recipe import Recipe
from quarl.verdict.explanations import EXPLANATIONS

REPOSITORY = "https://github.com/OWNER/quarl/blob/main/"  # OWNER: whoever hosts it
DOCS = "toolchain/docs"
LINK = re.compile(r"\]\(((?:\.\./)+[^)#]*)(#[^)]*)?\)")
KINDS = {
    "recipe.toml": Recipe,
    "[gate]": Limits,
    "board.toml": Board,
    "board.toml, Linux": LinuxBoard,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the decisions, each of which the index of decisions lists."""
    for name, text in reference_pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links that leave the documentation turned to the repository."""
    folder = posixpath.join(DOCS, posixpath.dirname(page.file.src_uri))

    def turned(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path.startswith(DOCS + "/"):
            return match[0]
        return f"]({REPOSITORY}{path}{match[2] or ''})"

    return LINK.sub(turned, markdown)


def reference_pages() -> dict[str, str]:
    """Return name -> Markdown of each page of the reference."""
    return {"cli": cli_page(), "api": api_page(), "keys": keys_page(), "checks": checks_page()}


def cli_page() -> str:
    """Return every verb with its help."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("quarl", [], resilient_parsing=True)
    parts = ["# The command line", "Written from the program itself: `quarl VERB --help`."]
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        inner = verb.make_context(f"quarl {name}", [], parent=context, resilient_parsing=True)
        parts += [f"## quarl {name}", _block(verb.get_help(inner))]
    return _joined(parts)


def api_page() -> str:
    """Return every public name of the package with its signature and docstring."""
    parts = ["# Python", _text(quarl)]
    for name in sorted(quarl.__all__):
        thing = getattr(quarl, name)
        parts += [f"## quarl.{name}", _block(_signature(name, thing), "python"), _text(thing)]
    return _joined(parts)


def keys_page() -> str:
    """Return the keys of each TOML file that people write."""
    parts = ["# Keys of TOML files", "Written from the classes that read them."]
    for name, kind in KINDS.items():
        parts += [f"## {name}", _table(("key", "allowed", "what it is"), key_rows(kind))]
    return _joined(parts)


def checks_page() -> str:
    """Return what each check means, as `quarl gate --explain` says it."""
    parts = ["# Checks of the gate", "`quarl gate --explain CHECK` prints one of them."]
    for entry in EXPLANATIONS:
        parts += [
            f"## {entry.name}",
            entry.meaning,
            f"**Limit.** {entry.limit}",
            f"**What to do.** {entry.remedy}",
        ]
    return _joined(parts)


def _signature(name: str, thing: Callable[..., Any]) -> str:
    try:
        return f"{name}{inspect.signature(thing)}"
    except ValueError:  # an error takes whatever BaseException does
        return name


def _text(thing: object) -> str:
    """Return the docstring; its sections of arguments, results and errors as it sets them."""
    lead, *sections = re.split(r"\n(?=(?:Args|Returns|Raises):\n)", inspect.getdoc(thing) or "")
    return _joined([lead, *(_block(section) for section in sections)])


def _block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(titles)} |"
        yield "|" + "---|" * len(titles)
        for row in rows:
            yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"

    return "\n".join(lines())


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
