"""DSSE envelopes: bytes, what they are, and signatures of both.

Follows the Dead Simple Signing Envelope, version 1.0 (secure-systems-lab): what is signed is the
pre-authentication encoding of type and payload, so that nothing is parsed before it is checked.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from quarl.errors import InputError
from quarl.files.documents import Document, read_json
from quarl.verdict.attestation.keys import PublicKey, SecretKey

IN_TOTO = "application/vnd.in-toto+json"
DOCUMENT = Document("a DSSE envelope", 1, "run quarl sign again")
MOST_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and signatures that nobody has checked yet."""

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]

    def signers(self, keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
        """Return which of the keys have signed the payload as what its type says."""
        signed = encoding(self.payload_type, self.payload)
        return tuple(key for key in keys if any(key.verifies(s, signed) for s in self.signatures))


def encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sealed(payload: bytes, payload_type: str, key: SecretKey) -> bytes:
    """Return the envelope with one signature, as one line of JSON."""
    signature = {
        "keyid": key.public.keyid,
        "sig": _text(key.sign(encoding(payload_type, payload))),
    }
    envelope = {
        "payload": _text(payload),
        "payloadType": payload_type,
        "signatures": [signature],
    }
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def envelope_from(data: bytes, where: str) -> Envelope:
    """Return the envelope in the bytes of one JSON object; no signature is checked.

    Raises:
        InputError: it is none.
    """
    table = read_json(data, where, DOCUMENT)
    try:
        signatures = table["signatures"]
        if not isinstance(table["payloadType"], str) or len(signatures) > MOST_SIGNATURES:
            raise ValueError("payloadType or signatures")
        return Envelope(
            _bytes(table["payload"]),
            table["payloadType"],
            tuple(_bytes(signature["sig"]) for signature in signatures),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: is not {DOCUMENT.title} ({error!r}): {DOCUMENT.remedy}"
        ) from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except binascii.Error:
        return base64.urlsafe_b64decode(text.encode())  # the specification allows both alphabets
