"""The verbs: one file each. Each parses its options, calls one function of the pipeline and shows
what came back.

Nothing heavy is imported at the top: `quarl --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable

from quarl.cli.verbs.actorq import actorq
from quarl.cli.verbs.actorq_page import actorq_page
from quarl.cli.verbs.baseline import baseline
from quarl.cli.verbs.board import board
from quarl.cli.verbs.boards import boards
from quarl.cli.verbs.compare import compare
from quarl.cli.verbs.convert_normalizer import convert_normalizer
from quarl.cli.verbs.doctor import doctor
from quarl.cli.verbs.export import export
from quarl.cli.verbs.finetune import finetune
from quarl.cli.verbs.gate import gate
from quarl.cli.verbs.history import history
from quarl.cli.verbs.import_ import import_
from quarl.cli.verbs.keygen import keygen
from quarl.cli.verbs.parity import parity
from quarl.cli.verbs.play import play
from quarl.cli.verbs.policies import policies
from quarl.cli.verbs.profile import profile
from quarl.cli.verbs.provision import provision
from quarl.cli.verbs.report import report
from quarl.cli.verbs.ship import ship
from quarl.cli.verbs.show import show
from quarl.cli.verbs.sign import sign
from quarl.cli.verbs.study import study
from quarl.cli.verbs.train import train
from quarl.cli.verbs.verify import verify

VERBS: dict[str, Callable[..., None]] = {
    "policies": policies,
    "play": play,
    "boards": boards,
    "board": board,
    "doctor": doctor,
    "import": import_,
    "export": export,
    "finetune": finetune,
    "profile": profile,
    "parity": parity,
    "gate": gate,
    "baseline": baseline,
    "report": report,
    "show": show,
    "ship": ship,
    "keygen": keygen,
    "sign": sign,
    "verify": verify,
    "history": history,
    "compare": compare,
    "train": train,
    "study": study,
    "actorq": actorq,
    "actorq-page": actorq_page,
    "provision": provision,
    "convert-normalizer": convert_normalizer,
}
"""Name -> verb, in the order `quarl --help` lists them."""
