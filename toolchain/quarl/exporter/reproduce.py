"""Exports a bundle again from its own source, and compares every file.

In: a `Release`, and the observations where neither recipe nor environment gives them. Out: a
`Reproduction`. Same policy, same observations, same versions: same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from quarl.bundle.example import example_of
from quarl.bundle.manifest import FIRMWARE_FOLDER, HALF_FOLDER, PACKAGES_FOLDER, tool_versions
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest, bundle_files
from quarl.finetune.assignment import TRAINING
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions
from quarl.profiles.platforms import board_of
from quarl.quantize.calibration import Calibration, coverage
from quarl.quantize.ladder import makings
from quarl.quantize.widths import widths_named
from quarl.resources import models_dir
from quarl.sources.observations import observations_of
from quarl.sources.recipe import RECIPE_FILE
from quarl.sources.source import Source, open_source


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came out when a bundle was exported again."""

    same: tuple[str, ...]  # files with equal bytes
    differing: tuple[str, ...]  # what differs, one line each; empty: nothing
    notes: tuple[str, ...]  # why it might: other versions, one line each


def reproduce(release: Release, calibration: Path | None = None) -> Reproduction:
    """Return the bundle beside a new export of its source, which is kept in memory alone.

    Args:
        calibration: the observations of the export, where they were a file of the user's.
    Raises:
        InputError: the integers were trained, or there are no observations.
    """
    source = _source_of(release)
    if TRAINING in release.files and source.integers is None:
        raise InputError(
            f"{release.folder}: its integers were trained, which only the training can do again: "
            "quarl finetune"
        )
    fitted, held = observations_of(source, calibration)
    quantized = _integers(release, source, fitted)
    request = _request_of(release)
    made = bundle_files(source, quantized, example_of(quantized, held.obs), request)
    lines = [f"{name}: differs" for name in sorted(made) if _differs(release, name, made[name])]
    lines += [f"{name}: is missing" for name in sorted(set(made) - set(release.files))]
    lines += [
        f"{name}: an export would not write it" for name in sorted(set(release.files) - set(made))
    ]
    covered = coverage(fitted, quantized.contract) if quantized.rung is not None else None
    if covered != release.manifest.calibration:
        lines.append("manifest.json: the calibration is of other observations than these")
    here = tool_versions()
    notes = [
        f"{name}: {version} exported it, here is {here.get(name, 'none')}"
        for name, version in sorted(release.manifest.tools.items())
        if here.get(name) != version
    ]
    same = sorted(n for n in made if n in release.files and not _differs(release, n, made[n]))
    return Reproduction(tuple(same), tuple(lines), tuple(notes))


def _differs(release: Release, name: str, data: bytes) -> bool:
    return name in release.files and release.files[name] != data


def _source_of(release: Release) -> Source:
    """Return the bundle's own source, with the observations and integers of its recipe where that
    ships with quarl.
    """
    manifest = release.manifest
    policy = release.quantized if release.source is None else release.source
    recipe = manifest.origin.recipe
    if recipe is not None and (models_dir() / recipe / RECIPE_FILE).is_file():
        shipped = open_source(recipe, ImportOptions(), manifest.env)
        return replace(shipped, policy=policy, env=manifest.env)
    return Source(policy, Path(manifest.origin.file), None, manifest.env)


def _integers(release: Release, source: Source, fitted: Calibration) -> QuantPolicy:
    """Return the integers of the source, made in the way that the ladder says was taken."""
    policy, manifest = source.policy, release.manifest
    if not isinstance(policy, Policy):
        return policy
    if TRAINING in release.files:
        assert source.integers is not None
        return source.integers
    ways = makings(policy, fitted, widths_named(manifest.weights))
    taken = {result.name for result in manifest.ladder if result.taken}
    of_rung = [way for way in ways if way.rung == manifest.rung]
    if not of_rung:
        raise InputError(f"{release.folder}: there is no rung {manifest.rung}: export it again")
    return next((way for way in of_rung if way.name in taken), of_rung[0]).make()


def _request_of(release: Release) -> ExportRequest:
    """Return the request that the files tell of."""
    names = [PurePosixPath(name) for name in release.files]
    heads = [n.stem for n in names if n.parent.name == "policy" and n.name.endswith("_check.c")]
    packages = {n.parts[1] for n in names if n.parts[0] == PACKAGES_FOLDER}
    is_firmware = any(n.parts[0] == FIRMWARE_FOLDER for n in names)
    return ExportRequest(
        rung=release.manifest.rung,
        widths=widths_named(release.manifest.weights),
        board=board_of(release) if is_firmware else None,
        prefix=heads[0].removesuffix("_check") if heads else DEFAULT_PREFIX,
        packages=tuple(sorted(packages)),
        half=any(n.parts[0] == HALF_FOLDER for n in names),
    )
