"""Results on disk, by the digest of what decided them: nothing is computed twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.open import read_file
from quarl.study.result import Result


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of results, one file a cell."""

    folder: Path

    def find(self, key: str) -> Result | None:
        """Return the result of a cell; None where there is none, or a damaged or failed one."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            result = Result.from_json(read_file(path), str(path))
        except InputError:
            return None
        return None if result.problem else result

    def keep(self, key: str, result: Result) -> None:
        """Write a result, whole or not at all; a failed one is kept to be seen and tried again."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, result.to_json().encode())

    def _path(self, key: str) -> Path:
        return self.folder / "cells" / key[:2] / f"{key}.json"
