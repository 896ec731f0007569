"""What the artifact promises and where it comes from: contract, versions, digests."""

from __future__ import annotations

from quarl.graph.contract import Contract
from quarl.reports.contents import Contents
from quarl.reports.numbers import number, size, time
from quarl.reports.page import Cell, Column, Facts, Gallery, Note, Part, Section, Table
from quarl.reports.sections.wording import plain_env

_TRANSFORMS = {
    "clip": "outputs clipped to the bounds",
    "unscale": "outputs in \N{MINUS SIGN}1..1 spread over the bounds, then clipped",
}
_MANY = 8  # bounds that are written out one by one


def contract(contents: Contents) -> Section:
    """Return the section of the contract."""
    promised = contents.contract
    lead = (
        "What goes in and what comes out, exactly as the environment gives and takes it. "
        "The artifacts carry its digest."
    )
    return Section(
        "contract",
        "Contract",
        lead,
        (
            Gallery(
                (Facts("Observation", _observation(promised)), Facts("Action", _action(promised)))
            ),
        ),
    )


def provenance(contents: Contents) -> Section:
    """Return the section of versions and digests."""
    manifest = contents.manifest
    origin = manifest.origin
    rows = [
        ("Source file", Cell(origin.file, note=origin.made_by)),
        ("Its SHA-256", Cell(code=origin.sha256)),
        ("Shipped policy", Cell(origin.recipe or "none")),
        ("Manifest SHA-256", Cell(code=contents.manifest_sha256)),
        ("Contract SHA-256", Cell(code=manifest.contract_sha256)),
    ]
    if manifest.env is not None:
        arguments = ", ".join(
            f"{key}={value}" for key, value in sorted(manifest.env.kwargs.items())
        )
        note = ", ".join([*filter(None, [arguments]), *manifest.env.wrappers])
        rows.append(("Environment", Cell(plain_env(manifest.env.id), note=note)))
    versions = [(name, Cell(release)) for name, release in sorted(manifest.tools.items())]
    if contents.profile is not None:
        versions += [
            (f"{name} while measuring", Cell(release))
            for name, release in sorted(contents.profile.versions.items())
        ]
    files = tuple(
        (
            Cell(name),
            Cell(size(contents.file_bytes[name]) if name in contents.file_bytes else "missing"),
            Cell(code=digest),
        )
        for name, digest in sorted(manifest.files.items())
    )
    columns = (Column("file"), Column("size", "number"), Column("SHA-256", "wide"))
    parts: list[Part] = [
        Gallery((Facts("Origin", tuple(rows)), Facts("Versions", tuple(versions)))),
        _state(contents),
    ]
    parts.append(Table(f"The {len(files)} files of the export", columns, files, is_folded=True))
    return Section(
        "provenance",
        "Versions and digests",
        "Enough to make the same bundle again and to notice any other.",
        tuple(parts),
    )


def _state(contents: Contents) -> Note:
    changed = contents.changed_files
    if not changed:
        return Note("Every file is the one the manifest lists; checked when this page was made.")
    return Note(f"Not as exported when this page was made: {'; '.join(changed)}.", True)


def _observation(promised: Contract) -> tuple[tuple[str, Cell], ...]:
    seen = promised.observation
    shape = " \N{MULTIPLICATION SIGN} ".join(str(length) for length in seen.shape)
    rows = [("Shape", Cell(shape, note=f"{seen.dtype}, {seen.layout}"))]
    if seen.names:
        rows.append(("Features", Cell(", ".join(seen.names))))
    if seen.is_image:
        rows.append(("Pixels", Cell("divided by 255")))
    for picture in seen.pictures:
        where = f"from value {picture.first} on, channels last, 0 to 255"
        sides = " \N{MULTIPLICATION SIGN} ".join(map(str, picture.shape))
        rows.append(("Picture", Cell(sides, note=where)))
    normalizer = seen.normalizer
    if normalizer is None:
        rows.append(("Normaliser", Cell("none")))
    else:
        words = (
            f"(x \N{MINUS SIGN} mean) / \N{SQUARE ROOT}(variance + {number(normalizer.epsilon)})"
        )
        words += f", clipped to \N{PLUS-MINUS SIGN}{number(normalizer.clip_obs)}"
        rows.append(
            (
                "Normaliser",
                Cell(
                    words,
                    note=f"statistics of {len(normalizer.mean)} features, folded into the integers",
                ),
            )
        )
    return tuple(rows)


def _action(promised: Contract) -> tuple[tuple[str, Cell], ...]:
    action = promised.action
    if action.kind == "discrete":
        rows = [
            (
                "Kind",
                Cell(
                    f"one of {action.count}" + (f", from {action.start}" if action.start else ""),
                    note="the largest output; of equal ones the lowest index",
                ),
            )
        ]
    elif action.kind == "multi_discrete":
        rows = [
            (
                "Kind",
                Cell(
                    f"{action.width} choices, of {', '.join(map(str, action.counts))}",
                    note="the largest output of each part; of equal ones the lowest index",
                ),
            )
        ]
    else:
        bounds = list(dict.fromkeys(zip(action.low, action.high, strict=True)))
        shown = ", ".join(f"{number(low)} to {number(high)}" for low, high in bounds[:_MANY]) + (
            ", ..." if len(bounds) > _MANY else ""
        )
        rows = [
            ("Kind", Cell(f"{action.count} values", note=_TRANSFORMS[action.transform])),
            ("Bounds", Cell(shown)),
        ]
    rate = promised.step_hz
    rows.append(
        (
            "Control rate",
            Cell("not known")
            if rate is None
            else Cell(f"{number(rate)} Hz", note=f"a decision every {time(1e6 / rate)}"),
        )
    )
    return tuple(rows)
