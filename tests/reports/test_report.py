"""The report says what the bundle says: nothing drawn empty, nothing taken for markup, the same
bytes every time.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from typer.testing import CliRunner

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import Origin
from quarl.bundle.release import Release, open_bundle
from quarl.cli.app import app
from quarl.errors import InputError
from quarl.evidence.evidence import Consistency, evidence_from_json
from quarl.exporter.export import ExportRequest
from quarl.links.pi_machine import Machine
from quarl.profiles.pi.report import Instructions, PiModel, PiProfile
from quarl.reports.contents import Contents, read_contents
from quarl.reports.render import render_contents, render_report
from quarl.reports.replay import Flight, NotReplayed
from quarl.reports.sections.board import spread
from quarl.reports.sections.summary import summary
from quarl.verdict.explanations import explain
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.judge import judge
from quarl.verdict.stored import read_verdict
from quarl.verdict.verdict import Outcome, Verdict
from tests.conftest import need
from tests.support.workloads import subject_of

MOST_BYTES = 1_500_000
VOID = ("meta", "br", "img", "input", "link", "hr")


class Page(HTMLParser):
    """What a reader gets: the elements, and the text outside of styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(html)
        assert self._open == []
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self._words.append(data)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """cartpole_ppo as export leaves it: no board, no profile, no episodes, no verdict."""
    source = pipeline.import_source("cartpole_ppo")
    return pipeline.export(
        source, tmp_path_factory.mktemp("bare") / "cartpole_ppo", ExportRequest(rung=0)
    )


def test_a_release_that_is_not_proven_says_first_that_and_why(contents: Contents) -> None:
    text = Page(render_contents(contents)).text
    assert contents.verdict is not None
    standing = contents.verdict.unproven
    assert standing
    assert f"must not be released: {len(standing)} of" in text
    places = [
        text.index(part)
        for part in (
            "NOT PROVEN",
            "must not be released",
            standing[0].name,
            "Next:",
            "Each check with what",
            "Against the margin",
        )
    ]
    assert places == sorted(places)


def test_what_was_measured_to_help_is_said_at_the_top(contents: Contents) -> None:
    assert contents.verdict is not None
    helpful = [reason.text[1:] for reason in contents.verdict.why if reason.helps]
    assert helpful
    text = Page(render_contents(contents)).text
    assert all(text.index(words) < text.index("Each check with what") for words in helpful)


def test_every_check_and_every_reason_of_the_verdict_is_on_the_page(contents: Contents) -> None:
    text = Page(render_contents(contents)).text
    assert contents.verdict is not None
    assert contents.verdict.why
    assert all(check.name in text for check in contents.verdict.checks)
    assert all(
        " ".join(explain(check.name).meaning.split()) in text
        for check in contents.verdict.checks
        if check.group != "budget"
    )
    assert all(
        reason.text[1:60] in text for reason in contents.verdict.why if reason.topic != "decisions"
    )  # a table has those


def test_every_section_has_its_drawing(contents: Contents) -> None:
    page = Page(render_contents(contents))
    labels = [
        str(attributes["aria-label"])
        for tag, attributes in page.tags
        if tag == "svg" and "aria-label" in attributes
    ]
    for beginning in (
        "Differences",
        "Return of int8",
        "Flight of seed",
        "Histograms",
        "Tails",
        "Roofline of cortex-m4",
    ):
        assert any(label.startswith(beginning) for label in labels), beginning
    for words in (
        "observation noise of 2%",
        "mlp_extractor.policy_net.0",
        "Control rate",
        "SHA-256",
        "emulated",
        "estimated",
        "measured",
    ):
        assert words in page.text


def test_a_passed_release_says_so(contents: Contents) -> None:
    evidence = contents.evidence
    assert evidence is not None
    limits = Limits(random_return=-21.0, margin=0.9, failure="success", failure_margin=0.5)
    looked_at = replace(evidence, consistency=Consistency((), ()))
    verdict = judge(looked_at, limits, policy="nav_ppo")
    assert verdict.answer is Outcome.PASS
    text = Page(render_contents(replace(contents, verdict=verdict))).text
    assert "PASS" in text
    assert "nav_ppo may be released: all" in text


def test_a_release_that_changed_after_its_verdict_is_not_shown_as_passed(
    contents: Contents,
) -> None:
    assert contents.verdict is not None
    passed = replace(
        contents.verdict,
        checks=tuple(check for check in contents.verdict.checks if check.outcome is Outcome.PASS),
    )
    changed = replace(contents, verdict=passed, changed_files=("model.tflite: SHA-256 is 12...",))
    text = Page(render_contents(changed)).text
    assert "CHANGED SINCE" in text
    assert "PASS" not in text
    assert "model.tflite: SHA-256 is 12..." in text


def test_what_was_never_made_is_said_and_not_drawn(bare: Release) -> None:
    page = Page(render_report(bare))
    assert "NOT JUDGED" in page.text
    for words in (
        "no verdict.json",
        "No paired episodes were played",
        "so none was played again",
        "Latency was not measured",
        "exported without a board",
        "Nothing was gathered",
    ):
        assert words in page.text
    drawn = [
        attributes["aria-label"]
        for tag, attributes in page.tags
        if tag == "svg" and attributes.get("class") == "chart"
    ]
    assert [str(label).partition(".")[0].partition(",")[0] for label in drawn] == [
        "The network",
        "Memory of one inference",
    ], "what the export itself holds, and nothing that was never measured"


def test_the_page_says_how_to_run_it_on_its_board(contents: Contents) -> None:
    text = Page(render_contents(contents)).text
    assert "How to run it on nrf52840_dk" in text
    for command in ("--link probe", "--link serial:PORT --flash pyocd", "--package cmake"):
        assert f"--board nrf52840_dk {command}" in text


def test_what_nobody_has_judged_is_grey(bare: Release) -> None:
    assert 'class="verdict unjudged"' in render_report(bare)
    assert "How to run it" not in render_report(bare), "it has no board"


def test_evidence_of_another_export_is_not_drawn(contents: Contents) -> None:
    other = replace(
        contents,
        is_stale=True,
        verdict=replace_loop(contents),
        replay=NotReplayed("No paired episodes of this export"),
    )
    assert "gathered on another export" in Page(render_contents(other)).text


def replace_loop(contents: Contents) -> Verdict:
    assert contents.verdict is not None
    return replace(contents.verdict, closed_loop=None)


def test_a_board_whose_blocks_were_not_counted_has_no_roofline(contents: Contents) -> None:
    assert contents.firmware is not None
    layers = tuple(replace(layer, cycles=None) for layer in contents.firmware.layers)
    untimed = replace(
        contents.firmware, cpu="cortex-m55", cycles=None, act_cycles=None, layers=layers
    )
    text = Page(render_contents(replace(contents, firmware=untimed))).text
    assert "No roofline: no blocks were counted" in text
    assert "no estimate" in text


def test_a_policy_that_came_as_integers_has_nothing_to_be_compared_with(contents: Contents) -> None:
    assert contents.evidence is not None
    assert contents.profile is not None
    alone = replace(
        contents.evidence,
        has_source=False,
        paired=None,
        agreement=None,
        worst=(),
        trials=(),
        robustness=(),
    )
    sourceless = replace(
        contents,
        manifest=replace(contents.manifest, rung=None, ladder=(), calibration=None),
        evidence=alone,
        verdict=judge(alone, Limits(), policy="nav_ppo"),
        quantization=None,
        profile=replace(
            contents.profile,
            models=tuple(model for model in contents.profile.models if model.precision == "int8"),
        ),
        replay=NotReplayed("No paired episodes"),
    )
    text = Page(render_contents(sourceless)).text
    for words in (
        "there is no full-precision source whose episodes",
        "without its float source the error of a layer",
        "held integers already",
    ):
        assert words in text


@pytest.mark.parametrize("kind", ["measured", "emulated"])
def test_a_raspberry_pi_takes_the_place_of_the_board(
    contents: Contents, kind: Literal["measured", "emulated"]
) -> None:
    assert contents.profile is not None
    timed = kind == "measured"
    models = tuple(
        PiModel(
            runtime=model.runtime,
            runtime_version="2.3.0",
            precision=model.precision,
            file_bytes=model.file_bytes,
            observations=64,
            differing=0,
            outputs_sha256="",
            expected_sha256="",
            load_us=None,
            latency=model.latency if timed else None,
            decision=model.latency if timed else None,
            memory=None,
            major_faults=None,
            before=None,
            after=None,
            instructions=None if timed else Instructions((5000, 5001), (4000,)),
        )
        for model in contents.profile.models
    )
    machine = Machine(
        "aarch64",
        64,
        "Raspberry Pi 4 Model B",
        None,
        (),
        4,
        2**32,
        "Linux 6.1",
        "glibc 2.36",
        "3.11",
    )
    profile = PiProfile(
        subject_of(None, "raspberrypi_4"),
        "raspberrypi_4",
        "ssh" if timed else "emulated",
        kind,
        machine,
        "",
        10.0,
        7104,
        models,
        (),
    )
    page = Page(render_contents(replace(contents, firmware=None, memory=None, on_pi=profile)))
    assert "On the Raspberry Pi" in page.text
    assert "Raspberry Pi 4 Model B, aarch64 with 4 cores" in page.text
    assert "for raspberrypi_4" in page.text
    assert ("worst decision" in page.text) == timed
    assert ("instructions than float32" in page.text) == (not timed)
    drawn = [
        attributes
        for tag, attributes in page.tags
        if str(attributes.get("aria-label")).startswith("Histograms")
    ]
    assert len(drawn) == (2 if timed else 1)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</style></title>&amp;{{ 7*7 }}",
    ],
)
def test_names_from_outside_stay_text(contents: Contents, name: str) -> None:
    plain, named = Page(render_contents(contents)), Page(render_contents(renamed(contents, name)))
    assert named.text.count(" ".join(name.split())) > plain.text.count(name)
    assert [tag for tag, _ in named.tags] == [tag for tag, _ in plain.tags]


def renamed(contents: Contents, name: str) -> Contents:
    """Return the contents with that name wherever a bundle may bring one along."""
    assert contents.verdict is not None
    assert contents.profile is not None
    assert contents.firmware is not None
    assert contents.quantization is not None
    manifest = replace(
        contents.manifest,
        name=name,
        origin=Origin(name, name, name, name, name),
        tools={f"{name} {tool}": name for tool in contents.manifest.tools},
    )
    checks = tuple(
        replace(check, detail=name, advice=name, unit=name) for check in contents.verdict.checks
    )
    names = {work.layer: f"{name} {place}" for place, work in enumerate(contents.work)}
    layers = tuple(
        replace(layer, layer=names[layer.layer], operation=name)
        for layer in contents.quantization.layers
    )
    costs = tuple(
        replace(layer, layer=names[layer.layer], kernel=name) for layer in contents.firmware.layers
    )
    models = tuple(
        replace(model, runtime=f"{name} {model.runtime}", runtime_version=name)
        for model in contents.profile.models
    )
    return replace(
        contents,
        manifest=manifest,
        verdict=replace(contents.verdict, checks=checks),
        quantization=replace(contents.quantization, layers=layers),
        profile=replace(
            contents.profile,
            cpu=name,
            system=name,
            models=models,
            versions={f"{name} {part}": name for part in contents.profile.versions},
        ),
        firmware=replace(
            contents.firmware, board=name, compiler=name, cycle_assumptions=name, layers=costs
        ),
        work=tuple(replace(work, layer=names[work.layer]) for work in contents.work),
    )


def test_the_same_bundle_gives_the_same_bytes(release: Release) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from quarl.bundle.release import open_bundle; from quarl.reports.render import "
        "render_report\n"
        "sys.stdout.buffer.write(render_report(open_bundle(Path(sys.argv[1]))).encode())\n"
        "assert not {'torch', 'tensorflow', 'stable_baselines3', 'matplotlib'} & set(sys.modules)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, str(release.folder)], capture_output=True, check=True
    ).stdout
    assert other == render_report(release).encode()
    assert len(other) < MOST_BYTES


def test_the_page_opens_with_the_three_lines_of_the_terminal(
    page: Path, contents: Contents
) -> None:
    assert contents.verdict is not None
    said, top = three_lines(contents.verdict), summary(contents)
    assert top.word == "NOT PROVEN"
    assert [name for name, _ in top.lines] == ["rests on", "next"]
    assert "pairs, a loss of at most" in top.lines[0][1]
    assert said.then[:40] in top.lines[1][1]
    html = page.read_text(encoding="utf-8")
    assert html.index("<dt>rests on</dt>") < html.index('<ol class="findings">')
    changed = replace(contents, changed_files=("model.tflite: changed",))
    passed = replace(contents.verdict, not_proven="warn")
    assert summary(replace(changed, verdict=passed)).lines == ()


def test_the_page_allows_nothing_but_what_is_in_it(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    tags = Page(html).tags
    policy = next(
        attributes["content"]
        for tag, attributes in tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in tags:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        for key in ("src", "href"):
            assert str(attributes.get(key, "#")).startswith(("#", "data:image/png")), (
                tag,
                attributes,
            )


def test_replayed_flights_give_the_returns_that_parity_recorded(contents: Contents) -> None:
    flights = contents.replay
    assert isinstance(flights, tuple)
    assert len(flights) >= 3
    for flight in flights:
        assert isinstance(flight, Flight)
        assert flight.is_recorded
        assert np.array_equal(flight.source.points[0], flight.int8.points[0])


def test_a_stored_verdict_comes_back_whole(release: Release, contents: Contents) -> None:
    text = (release.folder / "verdict.json").read_text()
    assert contents.verdict == read_verdict(text)
    document = json.loads(text)
    assert contents.verdict is not None
    mean = document["closed_loop"]["mean"]
    for changed in ({**mean, "more": 1}, {**mean, "lower": "0"}, {}, None):
        document["closed_loop"]["mean"] = changed
        with pytest.raises(InputError, match="is not a verdict"):
            read_verdict(json.dumps(document))


def test_the_verb_writes_into_the_bundle_or_where_it_is_told(
    release: Release, tmp_path: Path
) -> None:
    out = tmp_path / "here.html"
    told = CliRunner().invoke(app, ["report", str(release.folder), "-o", str(out), "--json"])
    assert json.loads(told.stdout) == {"file": str(out), "bytes": out.stat().st_size}
    assert CliRunner().invoke(app, ["report", str(release.folder)]).exit_code == 0
    assert (release.folder / "report.html").read_bytes() == out.read_bytes()
    assert open_bundle(release.folder).changed_files == ()


def test_a_damaged_file_is_named(bare: Release, tmp_path: Path) -> None:
    shutil.copytree(bare.folder, tmp_path / "copy")
    (tmp_path / "copy" / "profile.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"profile\.json: is a profile of this host of format None"
    ):
        read_contents(open_bundle(tmp_path / "copy"))


def test_frames_of_a_game_are_pictures_in_the_page(release: Release, contents: Contents) -> None:
    need("ale_py")
    from quarl.reports.replay import _frames
    from quarl.rollouts.actors import Actor

    def steady(action: int) -> Actor:
        return lambda obs: np.full(len(obs), action, np.int64)

    paired = evidence_from_json((release.folder / "parity.json").read_text()).paired
    assert paired is not None
    frames = _frames("pong", (steady(2), steady(3)), paired)
    assert frames.first_difference == 0
    assert (frames.source[0] == frames.int8[0]).all()
    assert not (frames.source[-1] == frames.int8[-1]).all()
    page = Page(render_contents(replace(contents, replay=frames)))
    pictures = [str(attributes["href"]) for tag, attributes in page.tags if tag == "image"]
    assert len(pictures) == 2 * len(frames.steps)
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)


def test_marks_of_a_drawing_are_drawn_apart() -> None:
    points = [(0.0, 0.0), (3.0, 4.0), (50.0, 0.0), (0.0, 0.0), (1.0, 1.0)]
    marks = spread(points, 18)
    assert marks[0] == points[0]
    assert marks[2] == points[2], "one that is alone lies where it is"
    assert min(math.dist(a, b) for i, a in enumerate(marks) for b in marks[:i]) >= 18
