"""What users meet when something is wrong: what was needed, what came, what to do.

Every error of the library is a `LinfaError`; the subclasses also derive from the built-in that fits, so that
``except ValueError`` and its like keep working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linfa.trajectory import Trajectory


class LinfaError(Exception):
    """Any error that the library raises on purpose."""


class InputError(LinfaError, ValueError):
    """A value that cannot be used: a wrong shape, a non-finite number, a width below one, an unknown name."""


class DivergenceError(LinfaError, ArithmeticError):
    """The dynamics left the finite numbers: says when, in which layer, and what to try."""

    partial: Trajectory | None = None
    """What `solve` had recorded until then."""


class NoLawError(LinfaError, ValueError):
    """A law was asked of a rule or of a way of stepping that has none; the message is the reason."""


class DataError(LinfaError, OSError):
    """A data set is absent, incomplete, or not what its checksum says."""


class ResultError(LinfaError, OSError):
    """A saved result is cut short, altered, or made by another configuration."""


class MissingExtraError(LinfaError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Return the one sentence for an absent optional dependency.

    >>> print(missing_extra("matplotlib", "figures", "to draw figures"))
    matplotlib is needed to draw figures and is not installed: python -m pip install "linfa[figures]"
    """
    return MissingExtraError(
        f'{package} is needed {purpose} and is not installed: python -m pip install "linfa[{extra}]"'
    )
