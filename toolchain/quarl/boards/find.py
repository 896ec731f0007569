"""Where boards come from: the shipped ones, the user's folder, a project's `boards/`, or a file.

In: a name, or the path of a board file. Out: the board, of either kind. A folder of boards holds
`<name>/board.toml` or `<name>.toml`. Two boards of one name are an error, never a silent choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_config_path

from quarl.boards.linux import AnyBoard, LinuxBoard, parse_linux_board
from quarl.boards.microcontroller import BOARD_FILE, LINUX, Board, parse_board, unknown_board
from quarl.errors import InputError
from quarl.files.documents import Document, decode, encode, read_json
from quarl.files.toml import read_toml
from quarl.resources import targets_dir

PROJECT_FOLDER = "boards"
DOCUMENT = Document("a board", 1, "export the bundle again: quarl export SOURCE --out BUNDLE")


def board_roots() -> tuple[Path, ...]:
    """Return the folders of boards: shipped, of the user, and of the project one stands in."""
    return (targets_dir(), user_config_path("quarl") / "boards", Path.cwd() / PROJECT_FOLDER)


def board_files(roots: Sequence[Path]) -> dict[str, Path]:
    """Return the board files in folders of boards, by name, sorted.

    Raises:
        InputError: two boards have one name.
    """
    files: dict[str, Path] = {}
    for root in roots:
        for path in (*root.glob(f"*/{BOARD_FILE}"), *root.glob("*.toml")):
            name = _name_of(path)
            if name in files:
                raise InputError(
                    f"{path}: {files[name]} is called {name!r} too: give one of them another name"
                )
            files[name] = path
    return dict(sorted(files.items()))


def read_targets(roots: Sequence[Path]) -> dict[str, AnyBoard]:
    """Return all boards in folders of boards, by name, sorted.

    Raises:
        InputError: a board file that is wrong; lists all its problems.
    """
    return {name: _read(path, name) for name, path in board_files(roots).items()}


def find_target(words: str, roots: Sequence[Path]) -> AnyBoard:
    """Return the board of that name, or the one in the file or folder of that path, which may have
    any name.

    Raises:
        InputError: there is none; names the closest one.
    """
    path = Path(words)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return _read(path / BOARD_FILE if path.is_dir() else path, None)
    files = board_files(roots)
    if words not in files:
        raise unknown_board(words, files)
    return _read(files[words], words)


def encode_board(board: AnyBoard) -> bytes:
    """Return the board as JSON, as a bundle keeps it."""
    return encode(board, DOCUMENT)


def decode_board(data: bytes, where: str) -> AnyBoard:
    """Return the board that `encode_board` wrote; `where` names the file in messages.

    Raises:
        InputError: it is not one, or says something wrong; lists all its problems.
    """
    if read_json(data, where, DOCUMENT).get("kind") == LINUX:
        return decode(LinuxBoard, data, where, DOCUMENT)
    return decode(Board, data, where, DOCUMENT)


def _read(path: Path, name: str | None) -> AnyBoard:
    document = read_toml(path)
    parse = parse_linux_board if document.get("kind") == LINUX else parse_board
    return parse(document, str(path), name)


def _name_of(path: Path) -> str:
    return path.parent.name if path.name == BOARD_FILE else path.stem
