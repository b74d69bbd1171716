"""The losses: values against plain formulas, signals against the complex step, no overflow, and what labels become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.losses import LOSSES
from tests.strategies import seeds, targets_of
from tests.tolerance import rounding

TWINS = {
    "squared": lambda f, y: ((y - f) ** 2).sum(-1) / 2,
    "softmax-ce": lambda f, y: (-y * (f - np.log(np.exp(f).sum(-1, keepdims=True)))).sum(-1),
    "logistic": lambda f, y: np.log1p(np.exp(-y * f)).sum(-1),
    "exponential": lambda f, y: np.exp(-y * f).sum(-1),
}
"""ℓ(f, y) as one would write it down; analytic, so that the complex step differentiates it to rounding."""


def drawn(name, N, p, scale, seed):
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((N, p)), targets_of(name, N, p, rng)


def size(f, y):
    """Sum of magnitudes on the way to a loss: arguments carry a relative error into exponentials up to e^|f|."""
    return (1 + np.abs(f).max() + np.abs(y).max()) ** 2 * f.shape[1] * np.exp(min(np.abs(f).max(), 40))


cases = st.builds(lambda *a: a, st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 1e-3, 1.0, 3.0]), seeds)


def test_every_loss_has_a_twin():
    assert set(TWINS) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
@given(case=cases)
def test_the_value_is_the_plain_formula(name, case):
    f, y = drawn(name, *case)
    error = np.abs(LOSSES[name].value(f, y) - TWINS[name](f, y)).max()
    assert error <= rounding(4 * f.shape[1] + 16, size(f, y))


@pytest.mark.parametrize("name", LOSSES)
@given(case=cases)
def test_the_signal_is_minus_the_derivative(name, case):
    f, y = drawn(name, *case)
    signal = LOSSES[name].signal(f, y)
    for i in range(f.shape[1]):
        shifted = f.astype(complex)
        shifted[:, i] += 1e-200j
        derivative = TWINS[name](shifted, y).imag / 1e-200
        assert np.abs(signal[:, i] + derivative).max() <= rounding(4 * f.shape[1] + 16, size(f, y))


@pytest.mark.parametrize("name", ["softmax-ce", "logistic"])
@pytest.mark.parametrize("far", [1e3, 1e300])
def test_outputs_far_away_do_not_overflow(name, far):
    f, y = far * np.array([[1.0, -1.0]]), np.array([[0.0, 1.0]]) if name == "softmax-ce" else np.array([[-1.0, 1.0]])
    # Both outputs are wrong by `far`: the softmax sees their difference, the logistic loss each of them.
    assert LOSSES[name].value(f, y) == pytest.approx([2 * far], rel=1e-15)
    expected = [[-1.0, 1.0]]
    assert np.array_equal(LOSSES[name].signal(f, y), expected)


def test_the_softmax_signal_of_a_distribution_sums_to_zero():
    f, y = drawn("softmax-ce", 20, 5, 3.0, 0)
    assert np.abs(LOSSES["softmax-ce"].signal(f, y).sum(-1)).max() <= rounding(2 * 5, 2)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_become_targets_whose_descent_finds_the_label(name):
    labels = np.array([0, 2, 1, 1])
    y = LOSSES[name].encode(labels, 3)
    signal = LOSSES[name].signal(np.zeros((4, 3)), y)
    assert np.array_equal(np.argmax(signal, axis=1), labels)
    assert y.shape == (4, 3)


@pytest.mark.parametrize("name", ["logistic", "exponential"])
def test_two_classes_are_one_margin(name):
    assert LOSSES[name].encode(np.array([0, 1, 1]), 2).tolist() == [[-1.0], [1.0], [1.0]]


def test_margins_of_a_single_class_are_refused():
    with pytest.raises(linfa.InputError, match="at least two classes; these labels have 1"):
        linfa.Logistic().encode(np.zeros(3, int), 1)


@pytest.mark.parametrize("margin", [0.1, 5.0, 37.0, 40.0, 300.0, 700.0])
def test_the_logistic_signal_keeps_its_digits_at_large_margins(margin):
    """y/(1 + e^m) is e^{−m} to e^{−m}; an argument that is rounded carries m eps into the exponential."""
    f, y = np.array([[margin, -margin]]), np.array([[1.0, -1.0]])
    signal = linfa.Logistic().signal(f, y)
    exact = y * np.exp(-margin) / (1 + np.exp(-margin))
    assert np.all(np.abs(signal - exact) <= 4 * (2 + margin) * np.finfo(float).eps * np.abs(exact))
    naive = y * (1 - np.tanh(y * f / 2)) / 2
    if margin > 30:
        assert np.any(np.abs(naive - exact) > 1e-3 * np.abs(exact))  # the control: 1 − tanh
