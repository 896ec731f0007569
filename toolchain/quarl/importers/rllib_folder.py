"""Where the module lies in a checkpoint's folder of RLlib."""

from __future__ import annotations

from pathlib import Path

from quarl.errors import InputError

STATE, MADE_WITH = "module_state.pkl", "class_and_ctor_args.pkl"
MODULES = "learner_group/learner/rl_module"
OLD = "policies"  # of the API stack before


def module_folder(path: Path) -> Path | None:
    """Return the folder of the module in a checkpoint's folder; None where it holds none.

    Raises:
        InputError: several modules, or one of the old API stack; says what to do.
    """
    if (path / STATE).is_file() and (path / MADE_WITH).is_file() and path.name != "rl_module":
        return path
    home = path if path.name == "rl_module" else path / MODULES
    found = sorted(file.parent for file in home.glob(f"*/{STATE}"))
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise InputError(
            f"{path.name}: holds {len(found)} modules ({names}): give the folder of one, {found[0]}"
        )
    if not found and (path / OLD).is_dir() and (path / "rllib_checkpoint.json").is_file():
        raise InputError(
            f"{path.name}: a checkpoint of RLlib's old API stack, whose pickles hold objects of "
            "RLlib itself: restore it where RLlib is installed and write ONNX with "
            "Algorithm.from_checkpoint(FOLDER).get_policy().export_model(OUT, onnx=17)"
        )
    return found[0] if found else None
