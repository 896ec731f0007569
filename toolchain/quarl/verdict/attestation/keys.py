"""Ed25519 keys in PEM files: PKCS #8 for the secret half, SubjectPublicKeyInfo for the public one.

What `openssl genpkey -algorithm ed25519` writes is read, and openssl reads what is written here.
The secret half goes nowhere but into its own file, which nobody else may read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarl.errors import InputError, ToolMissingError
from quarl.files.atomic import new_file
from quarl.files.open import open_file, read_file, read_open

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

MOST_BYTES = 1 << 14  # of a key's file
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with."""

    keyid: str  # SHA-256 of the key as SubjectPublicKeyInfo in DER, in hexadecimal
    key: Ed25519PublicKey = field(repr=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether the signature of the data is of this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that signs. It is never shown."""

    public: PublicKey
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes, the same for the same data."""
        signature: bytes = self.key.sign(data)
        return signature


def new_key(path: Path) -> Path:
    """Write a fresh secret key to `path`, readable by its owner alone, and its public half to
    `path`.pub; return the latter's path.

    Raises:
        InputError: one of the files is there already, or cannot be written.
    """
    _needed()
    from cryptography.hazmat.primitives import serialization as words
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(words.Encoding.PEM, words.PrivateFormat.PKCS8, words.NoEncryption())
    public = path.with_name(f"{path.name}.pub")
    pem = key.public_key().public_bytes(words.Encoding.PEM, words.PublicFormat.SubjectPublicKeyInfo)
    for file in (path, public):
        if os.path.lexists(file):
            raise InputError(f"{file}: is there already, and a key is never replaced: name another")
    try:
        new_file(path, secret, 0o600)
        new_file(public, pem)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): name another") from error
    return public


def read_secret_key(path: Path) -> SecretKey:
    """Return the secret key in a PEM file.

    Raises:
        InputError: others may read the file, or it holds no Ed25519 key in clear.
    """
    _needed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with open_file(path, MOST_BYTES) as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _OTHERS:
            raise InputError(
                f"{path}: others may use this key (its mode is {stat.S_IMODE(mode):04o}, allowed "
                f"0600): chmod 600 {path}, and think of who may have read it"
            )
        data = read_open(file, path, MOST_BYTES)
    key = _loaded(path, data, lambda pem: load_pem_private_key(pem, None))
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "secret")
    return SecretKey(_public(key.public_key()), key)


def read_public_key(path: Path) -> PublicKey:
    """Return the public key in a PEM file.

    Raises:
        InputError: it holds no public Ed25519 key.
    """
    _needed()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _loaded(path, read_file(path, MOST_BYTES), load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return _public(key)


def _loaded(path: Path, data: bytes, load: Any) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None  # what the library says could quote the file


def _public(key: Ed25519PublicKey) -> PublicKey:
    from cryptography.hazmat.primitives import serialization as words

    der = key.public_bytes(words.Encoding.DER, words.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), key)


def _no_key(path: Path, half: str) -> InputError:
    return InputError(
        f"{path}: is not a {half} Ed25519 key in clear PEM: make a pair with quarl keygen KEY"
    )


def _needed() -> None:
    try:
        import cryptography  # noqa: F401  # whether it is there
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "signatures need the Python package cryptography: pip install quarl[sign]"
        ) from error
