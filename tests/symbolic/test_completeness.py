"""The laws of the library are all the laws there are, where the theory says so; and by how many they fall short."""

import numpy as np
import pytest
from hypothesis import example, given

import linfa
from linfa.laws import DirectFeedbackLaw, NullSpaceLaw, count
from tests.strategies import rule_of, seeds, widths

small = widths(depth=(2, 4), width=(1, 4))


def found(n, name, seed):
    """Return the rank of the differentials of the laws of a fixed path, at Gaussian weights and feedback."""
    net = linfa.Weights.standard(n, rng=seed)
    rule, state = rule_of(name, net, seed + 1), linfa.State(net.matrices)
    laws = (NullSpaceLaw(), DirectFeedbackLaw())
    columns = [
        np.concatenate([np.ravel(dQ) for law in laws for dQ in law.differential(rule, state, direction)])
        for direction in basis(net)
    ]
    values = np.linalg.svd(np.array(columns), compute_uv=False)
    return int(np.sum(values > 1e-10 * max(values.max(initial=0.0), 1.0)))


def basis(net):
    """Yield every direction of a single weight."""
    for l, W in enumerate(net):
        for k in range(W.size):
            yield linfa.State(
                tuple(np.eye(1, V.size, k if j == l else -V.size).reshape(V.shape) for j, V in enumerate(net))
            )


@pytest.mark.usefixtures("unchecked_for_speed")
@pytest.mark.parametrize("name", ["fa", "dfa", "rho-fa"])
@given(n=small, seed=seeds)
def test_with_generic_feedback_the_laws_of_the_library_are_all(name, n, seed):
    assert found(n, name, seed) == count(n, name)


@pytest.mark.usefixtures("unchecked_for_speed")
@given(n=small, seed=seeds)
@example(n=(2, 4, 3), seed=0)
def test_where_only_the_read_out_moves_the_laws_of_the_library_miss_its_idle_part(n, seed):
    """(p − r)(n_1 − ρ) laws with r = rank B_2 = 0, ρ = rank [B_2ᵀ, W_1] (theory/completeness_two_layers)."""
    reached = min(n[:-1])
    assert count(n, "readout") - found(n, "readout", seed) == n[-1] * (n[-2] - reached)


def test_the_laws_that_are_missing_in_the_smallest_example():
    assert (found((2, 4, 3), "readout", 0), count((2, 4, 3), "readout")) == (8, 14)
