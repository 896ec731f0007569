"""`quarl export`."""

from __future__ import annotations

from dataclasses import replace

from quarl.cli.command import takes
from quarl.cli.option_groups import ExportOptions
from quarl.cli.progress import TERMINAL
from quarl.cli.result import print_result, put


@takes(ExportOptions)
def export(options: ExportOptions) -> None:
    """Quantise a policy and write its bundle: int8 .tflite and .onnx from the same integers."""
    from quarl import pipeline
    from quarl.bundle.manifest import QUANTIZATION
    from quarl.cli import show
    from quarl.cli.show_choice import choice_text
    from quarl.quantize.error_report import QuantReport

    request = options.request()
    source = options.open(TERMINAL.stage)
    with options.open_workers() as workers:
        request = replace(request, workers=workers)
        release = pipeline.export(source, options.out, request, TERMINAL)
    if options.as_json:
        print_result(show.bundle_table(release), as_json=True)
        return
    put(show.bundle_text(release))
    if options.explain:
        put(choice_text(release.manifest))
    if release.source is not None:
        report = QuantReport.from_json(release.file(QUANTIZATION).decode())
        put(show.quantization_text(report))
