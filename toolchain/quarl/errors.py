"""The errors quarl raises on purpose, each kind with its exit code.

A message says what happened, where, what was found against what is allowed, and what to do next.
Anything that is not a `QuarlError` is a defect of quarl itself, keeps its traceback and ends with
exit code 70.
"""

from __future__ import annotations


class QuarlError(Exception):
    """Base of every error with a message meant for the user."""

    exit_code = 2


class InputError(QuarlError):
    """A file, an option or an environment that cannot be used."""


class UntrustedFileError(InputError):
    """A file that asks for something data must not ask for: code, too much memory, a path
    outside.
    """


class UnsupportedError(InputError):
    """An operator, layer or algorithm that cannot be carried over exactly."""


class QuantizationError(InputError):
    """A policy whose integers would break a limit of the arithmetic (docs/decisions/0001)."""


class BudgetError(InputError):
    """A policy that needs more than the board has."""


class ToolMissingError(QuarlError):
    """A tool or an optional package that is not installed; the message names what gives it."""

    exit_code = 3


class DeviceError(QuarlError):
    """A device, link or runtime that failed or answered garbage."""

    exit_code = 4
