"""Signatures: who measured a release, as an in-toto attestation that other verifiers read too."""
