"""The top of the page: the verdict in words, why, and the few numbers that matter most."""

from __future__ import annotations

from quarl.quantize.ladder import rung_name
from quarl.reports.contents import Contents
from quarl.reports.numbers import count, decimals_for, fixed, number, percent, prose, size, time
from quarl.reports.page import Finding, KeyFigure, State, Summary
from quarl.reports.sections.wording import kind_tag, plain_env, title_of
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.formats.wording import ANSWERS, kind_of
from quarl.verdict.verdict import Check, Outcome, Verdict


def summary(contents: Contents) -> Summary:
    """Return the verdict of a bundle for people."""
    state, word, sentence, findings = _verdict(contents)
    return Summary(
        contents.manifest.name,
        state,
        word,
        sentence,
        _facts(contents),
        findings,
        _hints(contents.verdict),
        _key_figures(contents),
        _lines(contents),
    )


def _verdict(contents: Contents) -> tuple[State, str, str, tuple[Finding, ...]]:
    verdict, name = contents.verdict, contents.manifest.name
    if verdict is None:
        sentence = (
            f"Nobody has judged {name} yet: run quarl gate on the bundle. What is "
            "known so far is below."
        )
        return "unjudged", "NOT JUDGED", sentence, ()
    if verdict.may_ship and contents.changed_files:
        advice = "Judge it again with quarl gate, or export it again"
        findings = tuple(
            Finding("A file is not the exported one", "", line, advice)
            for line in contents.changed_files
        )
        return (
            "open",
            "CHANGED SINCE",
            f"{name} passed, but the bundle is no longer the one that was judged.",
            findings,
        )
    return _judged(verdict, name)


def _judged(verdict: Verdict, name: str) -> tuple[State, str, str, tuple[Finding, ...]]:
    judged = sum(check.outcome.is_judged for check in verdict.checks)
    unlimited = len(verdict.checks) - judged
    reported = (
        f" {count(unlimited, 'more figure has', 'more figures have')} no limit."
        if unlimited
        else ""
    )
    may = "may" if verdict.may_ship else "must not"
    failed, unproven = verdict.failed, verdict.unproven
    findings = tuple(_finding(check) for check in (*failed, *unproven))
    state: State = "fail"
    if verdict.answer is Outcome.PASS:
        state, what = "pass", f"all {count(judged, 'check')} with a limit pass"
    elif verdict.answer is Outcome.FAIL:
        what = (
            f"{len(failed)} of {count(judged, 'check')} {'fails' if len(failed) == 1 else 'fail'}"
        )
    else:
        state = "open"
        what = (
            f"{len(unproven)} of {count(judged, 'check')} "
            f"{'is' if len(unproven) == 1 else 'are'} not proven, and none fails"
        )
    sentence = f"{name} {may} be released: {what}.{reported}"
    return state, ANSWERS[verdict.answer] + kind_of(verdict), sentence, findings


def _lines(contents: Contents) -> tuple[tuple[str, str], ...]:
    """Return what the verdict rests on and what is next, as on a terminal; nothing where no verdict
    is of these files.
    """
    verdict = contents.verdict
    if verdict is None or (verdict.may_ship and contents.changed_files):
        return ()
    said = three_lines(verdict)
    return ("rests on", prose(said.basis)), ("next", prose(said.then))


def _finding(check: Check) -> Finding:
    return Finding(title_of(check.name), check.name, prose(check.detail), prose(check.advice))


def _hints(verdict: Verdict | None) -> tuple[str, ...]:
    return (
        ()
        if verdict is None or not verdict.blames_int8
        else tuple(prose(reason.text) for reason in verdict.why if reason.helps)
    )


def _facts(contents: Contents) -> tuple[str, ...]:
    manifest = contents.manifest
    facts = [manifest.origin.made_by]
    if manifest.rung is not None:
        facts.append(f"int8, rung {manifest.rung} ({rung_name(manifest.rung)})")
    if manifest.env is not None:
        facts.append(f"plays {plain_env(manifest.env.id)}")
    profile = contents.firmware or contents.on_pi
    board = manifest.board if profile is None else profile.board
    facts.append("no board" if board is None else f"for {board}")
    return tuple(facts)


def _key_figures(contents: Contents) -> tuple[KeyFigure, ...]:
    found = [*_return_figures(contents.verdict), *_file_figures(contents)]
    profile, firmware = contents.profile, contents.firmware
    if profile is not None:
        model = next(model for model in profile.models if model.precision == "int8")
        real = [
            other
            for other in profile.models
            if (other.runtime, other.precision) == (model.runtime, "float32")
        ]
        beside = f", float32 {time(real[0].latency.p50_us)}" if real else ""
        note = f"median in {model.runtime} on this host{beside}; p99 {time(model.latency.p99_us)}"
        found.append(
            KeyFigure("Decision, host", time(model.latency.p50_us), note, kind_tag("measured"))
        )
    if firmware is not None and firmware.latency_us is not None:
        low, usual, high = firmware.latency_us
        period = (
            ""
            if contents.contract.step_hz is None
            else f"; the control period is {time(1e6 / contents.contract.step_hz)}"
        )
        note = f"{time(low)} to {time(high)} on {firmware.board}{period}"
        found.append(KeyFigure("Decision, board", time(usual), note, kind_tag("estimated")))
    if firmware is not None:
        flash = (
            ""
            if contents.memory is None
            else f" ({percent(firmware.flash_bytes / contents.memory.flash.bytes)} of the board's)"
        )
        ram = firmware.ram_bytes + (firmware.stack_bytes or 0)
        note = f"of flash{flash}; RAM with stack {size(ram)}"
        found.append(KeyFigure("Firmware", size(firmware.flash_bytes), note, kind_tag("exact")))
    return tuple(found)


def _return_figures(verdict: Verdict | None) -> list[KeyFigure]:
    if verdict is None or verdict.closed_loop is None:
        return []
    loop = verdict.closed_loop
    mean, found = loop.mean, []
    loss = max(0.0 - mean.lower, 0.0)
    note = (
        f"loss of at most {number(loss, 3)} with {percent(1 - mean.alpha)} confidence; "
        f"{number(mean.margin, 3)} is allowed"
    )
    decimals = decimals_for((mean.mean_source, mean.mean_candidate))
    value = (
        f"{fixed(mean.mean_source, decimals)} \N{RIGHTWARDS ARROW} "
        f"{fixed(mean.mean_candidate, decimals)}"
    )
    found.append(KeyFigure("Mean return, float32 to int8", value, note, kind_tag("tested")))
    if loop.failures is not None:
        test = loop.failures
        rise, allowed = (number(100 * share, 3) for share in (max(test.upper, 0.0), test.margin))
        note = (
            f"of {test.episodes} episodes; the rate rises by at most {rise} points, "
            f"{allowed} are allowed"
        )
        value = f"{test.failures_source} \N{RIGHTWARDS ARROW} {test.failures_candidate}"
        found.append(KeyFigure("Failed episodes", value, note, kind_tag("tested")))
    return found


def _file_figures(contents: Contents) -> list[KeyFigure]:
    sizes = contents.file_bytes
    if "model.tflite" not in sizes:
        return []
    note = "model.tflite" + (
        f"; model.onnx {size(sizes['model.onnx'])}" if "model.onnx" in sizes else ""
    )
    return [KeyFigure("Artifact", size(sizes["model.tflite"]), note, kind_tag("exact"))]
