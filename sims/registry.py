"""Every study by name."""

from __future__ import annotations

from typing import TypeVar

from linfa.errors import InputError
from sims import (
    alignment,
    benign,
    classes,
    conservation,
    convnets,
    depth,
    dominance,
    guided,
    integrators,
    loss_decay,
    low_rank,
    minimum_norm,
    ordering,
    practical_law,
    rule_benchmark,
    rule_laws,
    teacher_student,
    width,
)
from sims.study import Study

T = TypeVar("T")

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        conservation.STUDY,
        integrators.STUDY,
        width.STUDY,
        ordering.STUDY,
        alignment.STUDY,
        low_rank.STUDY,
        teacher_student.STUDY,
        practical_law.STUDY,
        benign.STUDY,
        rule_laws.STUDY,
        dominance.STUDY,
        classes.STUDY,
        guided.STUDY,
        guided.PART,
        classes.CIFAR100,
        minimum_norm.STUDY,
        loss_decay.STUDY,
        convnets.STUDY,
        convnets.PART,
        rule_benchmark.STUDY,
        rule_benchmark.PART,
        depth.STUDY,
        depth.PART,
    )
}
"""The studies, in the order in which they are run."""


def named(names: list[str], known: dict[str, T], kind: str) -> list[T]:
    """Return what has the given names, each once, or all that is known where none is given.

    Raises:
        InputError: for an unknown name; the message lists the known ones.

    >>> named(["b", "b"], {"a": 1, "b": 2}, "numbers")
    [2]
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"the known {kind} are {', '.join(known)}; got {', '.join(unknown)}")
    return [known[name] for name in dict.fromkeys(names) or known]


def find(names: list[str]) -> list[Study]:
    """Return the studies of the given names, or all of them where none is given; see `named`."""
    return named(names, STUDIES, "studies")
