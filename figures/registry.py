"""Every figure by name."""

from __future__ import annotations

from figures import (
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
from figures.figure import Figure
from sims.registry import named

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        conservation.FIGURE,
        integrators.FIGURE,
        width.FIGURE,
        ordering.FIGURE,
        alignment.FIGURE,
        low_rank.FIGURE,
        teacher_student.FIGURE,
        practical_law.FIGURE,
        benign.FIGURE,
        rule_laws.FIGURE,
        dominance.FIGURE,
        classes.FIGURE,
        guided.FIGURE,
        minimum_norm.FIGURE,
        loss_decay.FIGURE,
        convnets.FIGURE,
        rule_benchmark.FIGURE,
        depth.FIGURE,
    )
}
"""The figures, in the order of the gallery."""


def find(names: list[str]) -> list[Figure]:
    """Return the figures of the given names, or all of them where none is given; see `sims.registry.named`."""
    return named(names, FIGURES, "figures")
