"""quarl carries a trained reinforcement-learning policy to a small board and proves that it still
plays.

    quarl.ship("cartpole_ppo", "out/cartpole")             the whole chain
    quarl.import_policy, export, profile, parity, gate, report, play, open_bundle      its parts

Policies are files or objects: a Stable-Baselines3 model, a torch module, a Keras model. Each
function is a verb of the command line too: `quarl --help`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quarl.resources import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from quarl.api import (
        export,
        gate,
        import_policy,
        open_bundle,
        parity,
        play,
        profile,
        report,
        ship,
    )
    from quarl.bundle.limits import Limits
    from quarl.bundle.release import Release
    from quarl.errors import QuarlError
    from quarl.verdict.verdict import Verdict

__all__ = [
    "Limits",
    "QuarlError",
    "Release",
    "Verdict",
    "export",
    "gate",
    "import_policy",
    "open_bundle",
    "parity",
    "play",
    "profile",
    "report",
    "ship",
]
_HOMES = {
    "Limits": "quarl.bundle.limits",
    "QuarlError": "quarl.errors",
    "Release": "quarl.bundle.release",
    "Verdict": "quarl.verdict.verdict",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import quarl` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module 'quarl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "quarl.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
