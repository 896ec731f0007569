"""`quarl ship`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quarl.cli.command import takes
from quarl.cli.option_groups import ShipOptions
from quarl.cli.options import TargetWords, target_named
from quarl.cli.progress import TERMINAL
from quarl.cli.result import conclude, put

if TYPE_CHECKING:
    from quarl.bundle.release import Release


@takes(ShipOptions)
def ship(options: ShipOptions) -> None:
    """The whole chain: import, export, profile, parity, gate, report."""
    from quarl import pipeline
    from quarl.cli import show
    from quarl.cli.show_choice import choice_text
    from quarl.cli.show_profile import board_profile_text, profile_text
    from quarl.reports.gif import check_pillow
    from quarl.verdict.assess import ParityRequest
    from quarl.verdict.planning import asked_episodes

    if options.film:
        check_pillow()
    request = options.request()
    episodes = asked_episodes(options.episodes, options.budget)
    target = target_named(TargetWords(options.board, options.link))
    source = options.open(TERMINAL.stage)
    with options.open_workers() as workers:
        request = replace(request, workers=workers)
        play = ParityRequest(episodes=episodes, target=target, run=options.run_id, workers=workers)
        shipment = pipeline.ship(source, options.out, request, play, TERMINAL, trust=options.trust)
    if options.film:
        _film(shipment.release)
    if not options.as_json:
        put(show.bundle_text(shipment.release))
        if options.explain:
            put(choice_text(shipment.release.manifest))
        put(profile_text(shipment.profile))
        if shipment.on_board is not None:
            put(board_profile_text(shipment.on_board))
    conclude(shipment.verdict, shipment.release, options, options.as_json)


def _film(release: Release) -> None:
    """Write the report again, with a film. A verdict is not lost for want of one."""
    from quarl import pipeline
    from quarl.errors import QuarlError

    try:
        with TERMINAL.stage(f"filming {release.manifest.name}"):
            pipeline.report(release, film=True)
    except QuarlError as error:
        TERMINAL.line(f"the report has no film: {error}")
