"""The shapes and types in linfa's annotations, checked at every call by jaxtyping and beartype while tests run."""

import sys
from contextlib import contextmanager

import jaxtyping


def check_shapes():
    """Check every annotated call of linfa from now on; must come before the first import of linfa."""
    if "linfa" not in sys.modules:
        jaxtyping.install_import_hook("linfa", "beartype.beartype")


@contextmanager
def shapes_unchecked():
    """Switch the check off, as it is for everyone outside the tests; also a decorator.

    Wrong types then reach linfa's own messages, long runs are faster, and Hypothesis sees no draws of beartype's own.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
