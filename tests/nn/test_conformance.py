"""The public suite: our layers pass it, and naive ones fail exactly what they should."""

import pytest

from linfa.nn import conformance
from linfa.nn.conformance import ConformanceError, report
from tests.nn.naive import KINDS, naive, ours
from tests.nn.strategies import SLOTS

# What is compiled is in test_compiled, in a process of its own.
CHECKS = tuple(check for check in conformance.CHECKS if check is not conformance.compiled)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", SLOTS)
def test_our_layers_conform(rule, kind):
    assert report(ours(rule, kind), CHECKS) == {}


EVERYWHERE = {"gradients", "float64", "autocast", "checkpointed", "per_sample", "copied", "in_place", "reported_angle"}
FAILS = {
    "linear": {"float64", "autocast", "per_sample", "second_derivative", "no_parameter"},
    "linear, sequences": EVERYWHERE | {"no_parameter"},  # no backward pass at all, so no second one either
    "conv": {"gradients", "float64", "autocast", "per_sample", "second_derivative", "reported_angle"},
}


@pytest.mark.parametrize("kind", FAILS)
def test_a_naive_layer_fails_what_it_should_and_nothing_else(kind):
    assert report(naive(kind), CHECKS).keys() == FAILS[kind]


def test_a_failure_says_what_was_needed():
    with pytest.raises(ConformanceError, match="gradients: the forward pass is not torch's own"):
        conformance.gradients(naive("conv"))
    with pytest.raises(ConformanceError, match="per_sample: RuntimeError"):
        conformance.per_sample(naive("linear"))
