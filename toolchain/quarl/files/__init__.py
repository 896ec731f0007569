"""Reads files that are not ours within limits, and writes files whole or not at all."""
