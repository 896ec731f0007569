"""Makers and fakes that several tests use."""
