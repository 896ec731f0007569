"""The parts of a bundle as CycloneDX 1.6: packages whose arithmetic it relies on, runtimes it was
compared on, compilers and kernels of its firmware, and every file of the export.

The same bundle gives the same bytes: no clock, and a serial number made of the manifest's digest.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from quarl.bundle.release import Release
from quarl.errors import ToolMissingError
from quarl.evidence.gather import stored_evidence
from quarl.files.digests import digests
from quarl.profiles.measure import read_measurements
from quarl.resources import VERSION

if TYPE_CHECKING:
    from cyclonedx.model.component import Component


def sbom_bytes(release: Release) -> bytes:
    """Return the bytes of sbom.cdx.json.

    Raises:
        ToolMissingError: cyclonedx-python-lib is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "the list of parts needs the Python package cyclonedx-python-lib: pip install "
            "quarl[sign]"
        ) from error
    manifest = release.manifest
    subject = Component(
        name=manifest.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=release.manifest_sha256,
        bom_ref=manifest.name,
        description=f"{manifest.origin.made_by}, in int8",
    )
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, release.manifest_sha256),
        metadata=BomMetaData(component=subject),
        components=_parts(release),
    )
    bom.register_dependency(subject, list(bom.components))
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)  # the same bundle, the same bytes
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _parts(release: Release) -> Iterator[Component]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for name, version in sorted(release.manifest.tools.items()):
        purl = PackageURL("pypi", None, name, version)
        yield Component(
            name=name, version=version, purl=purl, bom_ref=str(purl), type=ComponentType.LIBRARY
        )
    for kind, name, version in _measured_with(release):
        yield Component(
            name=name,
            version=version,
            bom_ref=f"{kind}:{name}@{version}",
            type=ComponentType.APPLICATION if kind == "compiler" else ComponentType.LIBRARY,
            description=kind,
        )
    for name, sha256 in sorted(digests(release.files).items()):
        yield Component(
            name=name,
            bom_ref=f"file:{name}",
            type=ComponentType.FILE,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        )


def _measured_with(release: Release) -> list[tuple[str, str, str]]:
    """Return kind, name and version of runtimes, compilers and kernels that the evidence names."""
    evidence, _ = stored_evidence(release)
    firmware = read_measurements(release).firmware
    parts = {("runtime", backend.backend, backend.version) for backend in evidence.backends}
    if firmware is not None:
        parts.add(("compiler", "firmware compiler", firmware.compiler))
        parts |= {("kernel", layer.kernel, VERSION) for layer in firmware.layers}
    return sorted(parts)
