"""`quarl show`."""

from __future__ import annotations

from quarl.cli.options import BundleArgument, JsonOption
from quarl.cli.result import print_result


def show(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show what a bundle is: its policy, network, memory, files and last verdict."""
    from quarl.bundle.release import open_bundle
    from quarl.cli.show_bundle import bundle_facts, bundle_shown

    release = open_bundle(bundle)
    print_result(bundle_facts(release) if as_json else bundle_shown(release), as_json)
