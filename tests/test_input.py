"""Bad input: every mistake gets one clear sentence — what was needed, what came, what to do — and no NumPy warning."""

import numpy as np
import pytest

import linfa
from linfa.rules import REGISTRY
from tests.strategies import rule_of, task_of

pytestmark = pytest.mark.usefixtures("as_users_run_it")

W = np.ones((3, 2))
V = np.ones((2, 3))
NET = linfa.Weights((W, V))
TASK = linfa.Task.from_samples(np.eye(2), np.eye(2))
MOMENTS = linfa.Task.from_moments(np.eye(2), np.eye(2), np.eye(2))
NAN = np.array([[1.0, np.nan], [2.0, np.inf]])


def full(rule=None, net=NET):
    return linfa.Full(net, rule or linfa.Backprop())


MISTAKES = {
    # networks
    "no matrix": (lambda: linfa.Weights(()), "at least one weight matrix; got none"),
    "a vector": (lambda: linfa.Weights((np.ones(3),)), r"W_1 must be a matrix .* got \(3,\)"),
    "a number": (lambda: linfa.Weights((3.0,)), r"W_1 must be a matrix .* got \(\)"),
    "integers": (lambda: linfa.Weights((np.ones((2, 2), int),)), "real floating numbers; its dtype is int64"),
    "complex": (lambda: linfa.Weights((np.ones((2, 2), complex),)), "real floating numbers; its dtype is complex128"),
    "an empty layer": (lambda: linfa.Weights((np.ones((0, 2)),)), r"width must be a whole number ≥ 1; W_1 .* \(0, 2\)"),
    "nan weights": (lambda: linfa.Weights((NAN,)), "every weight must be finite; W_1 holds nan or inf"),
    "shapes that do not chain": (
        lambda: linfa.Weights((W, W)),
        r"must chain: W_1 \(3, 2\) gives 3 units, but W_2 \(3, 2\) takes 2",
    ),
    "a width of zero": (lambda: linfa.Weights.standard((3, 0, 2), 0), r"whole number ≥ 1; n_1 is 0 in \(3, 0, 2\)"),
    "a negative width": (lambda: linfa.Weights.zero((3, -1)), r"whole number ≥ 1; n_1 is -1"),
    "half a width": (lambda: linfa.Weights.balanced((3, 2.5), 0), r"whole number ≥ 1; n_1 is 2.5"),
    "a true width": (lambda: linfa.Weights.balanced((3, True), 0), r"whole number ≥ 1; n_1 is True"),
    "a seed in words": (lambda: linfa.Weights.standard((3, 2), "a"), r"a seed is a whole number ≥ 0, .*; got 'a'"),
    "a negative seed": (lambda: linfa.Weights.standard((3, 2), -1), r"a seed is a whole number ≥ 0, .*; got -1"),
    "half a seed": (lambda: linfa.WidthFree.gaussian((3, 4, 2), 0.5), r"a seed is a whole number ≥ 0, .*; got 0.5"),
    "a correlation in words": (lambda: linfa.WidthFree.gaussian((3, 4, 2), 0, rho="a"), "ρ is a correlation.*got 'a'"),
    "an end in words": (lambda: linfa.Flow("a"), "the end of time must be finite and > 0; got t = a"),
    "a tolerance in words": (lambda: linfa.Flow(1.0, rtol="a"), "tolerances must satisfy .*; got a and 1e-12"),
    "a rest in words": (lambda: linfa.Flow(1.0, steady="a"), "steady must be > 0, or None to run to the end; got a"),
    "momentum in words": (lambda: linfa.Descent(0.1, steps=1, momentum="a"), "momentum must satisfy .*; got a"),
    "a rate in words": (lambda: linfa.StepDecay("a", (1,)), "a learning rate must be finite and > 0; got a"),
    "one milestone": (lambda: linfa.StepDecay(0.1, 3), r"milestones are step numbers ≥ 0; got 3"),
    "half a cosine": (lambda: linfa.Cosine(0.1, 0.5), "a cosine schedule needs at least one step; got 0.5"),
    "one width": (lambda: linfa.Weights.orthogonal((3,), 0), r"at least two widths, input and output; got \(3,\)"),
    "a negative scale": (lambda: linfa.Weights.standard((3, 2), 0, -1.0), r"scale must be finite and ≥ 0; got -1"),
    "a nan scale": (lambda: linfa.Weights.small((3, 2), 0, np.nan), r"scale must be finite and ≥ 0; got nan"),
    "a negative margin": (lambda: linfa.dominated.matrix_dominated([V], 2, 0, margin=-1.0), "margin must be finite"),
    # tasks
    "nan inputs": (
        lambda: linfa.Task.from_samples(NAN, np.eye(2)),
        "inputs must be finite; 2 of 4 entries are nan or inf: drop or impute them",
    ),
    "nan targets": (lambda: linfa.Task.from_samples(np.eye(2), NAN), "targets must be finite; 2 of 4"),
    "unequal numbers of rows": (
        lambda: linfa.Task.from_samples(np.eye(2), np.ones((3, 1))),
        r"the same N ≥ 1; got \(2, 2\) and \(3, 1\)",
    ),
    "no samples": (lambda: linfa.Task.from_samples(np.ones((0, 2)), np.ones((0, 1))), r"N ≥ 1; got \(0, 2\)"),
    "targets as a vector": (lambda: linfa.Task.from_samples(np.eye(2), np.ones(2)), r"got \(2, 2\) and \(2,\)"),
    "moments of the wrong shape": (
        lambda: linfa.Task.from_moments(np.eye(3), np.ones((1, 2)), np.eye(1)),
        r"moments need shapes .* got \(3, 3\), \(1, 2\), \(1, 1\)",
    ),
    "moments that are none": (
        lambda: linfa.Task.from_moments(-np.eye(2), np.eye(2), np.eye(2)),
        "symmetric with eigenvalues ≥ 0; these are not",
    ),
    "moments that are not symmetric": (
        lambda: linfa.Task.from_moments(np.array([[1.0, 0.5], [0.0, 1.0]]), np.eye(2), np.eye(2)),
        "symmetric with eigenvalues ≥ 0",
    ),
    "nan moments": (lambda: linfa.Task.from_moments(NAN, np.eye(2), np.eye(2)), "Σ_xx must be finite"),
    "samples and moments": (
        lambda: linfa.Task(np.eye(2), np.eye(2), moments=MOMENTS.moments),
        "give samples or moments, not both",
    ),
    "moments for another loss": (
        lambda: linfa.Task(None, None, linfa.Logistic(), moments=MOMENTS.moments),
        "enough for the squared loss only; Logistic needs samples",
    ),
    "too many singular values": (
        lambda: linfa.Task.teacher(3, 2, 0, spectrum=[1.0, 1.0, 1.0]),
        "from 3 to 2 has at most 2 finite singular values",
    ),
    "a rank beyond the spectrum": (lambda: linfa.Task.teacher(3, 2, 0, rank=3), "and rank 3"),
    "a negative input spectrum": (
        lambda: linfa.Task.teacher(2, 2, 0, input_spectrum=[1.0, -1.0]),
        r"Σ_xx needs 2 finite eigenvalues ≥ 0; got \[1.0, -1.0\]",
    ),
    "images without labels": (
        lambda: linfa.Task.from_data(np.ones((3, 2)), np.zeros(2, int)),
        r"must agree in N ≥ 1; got \(3, 2\) and \(2,\)",
    ),
    "labels that are no numbers": (
        lambda: linfa.Task.from_data(np.eye(2), np.array([0.5, 1.0])),
        "labels must be whole numbers; their dtype is float64",
    ),
    "a class that does not occur": (
        lambda: linfa.Task.from_data(np.eye(2), np.array([0, 1]), classes=[0, 7]),
        r"classes \[7\] do not occur .* \[0, 1\]",
    ),
    "images that are all the same": (
        lambda: linfa.Task.from_data(np.ones((2, 2)), np.array([0, 1])),
        "all the same, so they cannot be scaled",
    ),
    "more samples than there are": (
        lambda: linfa.Task.from_data(np.eye(2), np.array([0, 1]), samples=3),
        "between 1 and the 2 images there are; got 3",
    ),
    "too much noise": (
        lambda: linfa.Task.from_data(np.eye(2), np.array([0, 1]), label_noise=1.5),
        "a fraction between 0 and 1 .* got 1.5",
    ),
    "accuracy of moments": (lambda: linfa.metrics.accuracy(NET, MOMENTS), "counts samples, and this task has moments"),
    # rules
    "an unknown rule": (lambda: linfa.rules.make("magic", NET), f"known rules are {', '.join(REGISTRY)}; got 'magic'"),
    "too little feedback": (lambda: full(linfa.FeedbackAlignment(())), "needs 1 feedback matrices, B_2 first; got 0"),
    "feedback transposed": (
        lambda: full(linfa.FeedbackAlignment((V.T,))),
        r"B_2 must have shape \(2, 3\); got \(3, 2\)",
    ),
    "nan feedback": (lambda: full(linfa.KolenPollack((V * np.nan,))), "feedback weight must be finite; B_2 holds nan"),
    "direct feedback of the wrong shape": (
        lambda: full(linfa.DirectFeedback((W,))),
        r"F_1 must have shape \(2, 3\); got \(3, 2\)",
    ),
    "negative magnitudes": (
        lambda: full(linfa.SignConcordant((-V,))),
        "must be ≥ 0, or the signs do not agree; M_2 has a negative entry",
    ),
    "a correlation beyond one": (
        lambda: linfa.FeedbackAlignment.interpolated(NET, 1.5, 0),
        r"ρ is a correlation, −1 ≤ ρ ≤ 1; got 1.5",
    ),
    "an infinite mix": (lambda: full(linfa.Interpolated(np.inf, (V,))), "α must be finite; got inf"),
    "a rule for other widths": (
        lambda: full(linfa.BatchRandomSign((2, 4, 2), 0)),
        r"for widths \(2, 4, 2\); the network has \(2, 3, 2\)",
    ),
    "a name for a rule": (lambda: full("fa"), "takes a rule such as linfa.FeedbackAlignment; got 'fa'"),
    "a list for a network": (lambda: full(net=[W, V]), "takes linfa.Weights as its start; got list"),
    # time
    "a step size of zero": (lambda: linfa.Descent(0.0, 5), "learning rate must be finite and > 0; got 0"),
    "a nan step size": (lambda: linfa.Descent(np.nan, 5), "learning rate must be finite and > 0; got nan"),
    "no steps": (lambda: linfa.Descent(0.1, 0), "steps and saves must be whole numbers ≥ 1; got 0 and 100"),
    "no saves": (lambda: linfa.Descent(0.1, 5, saves=0), "steps and saves must be whole numbers ≥ 1; got 5 and 0"),
    "half a step": (lambda: linfa.Descent(0.1, 2.5), "whole numbers ≥ 1; got 2.5"),
    "a word for a rate": (lambda: linfa.Descent("fast", 5), "a number or a schedule; got 'fast'"),
    "a cosine over no steps": (lambda: linfa.Cosine(1.0, 0), "at least one step; got 0"),
    "a milestone before the start": (lambda: linfa.StepDecay(1.0, (-1,)), "step numbers ≥ 0; got"),
    "targets that are no signs": (
        lambda: linfa.Task.from_samples(np.eye(2), np.array([[0.0], [1.0]]), linfa.Logistic()),
        "targets ±1; 1 of 2 are something else",
    ),
    "moments of nothing": (
        lambda: linfa.Task.from_moments([[1.0]], [[2.0]], [[1.0]]),
        "second moments of one",
    ),
    "momentum of one": (lambda: linfa.Descent(0.1, 5, momentum=1.0), "0 ≤ μ < 1; got 1"),
    "negative decay": (lambda: linfa.Descent(0.1, 5, decay=-1.0), "decay must be finite and ≥ 0; got -1"),
    "an empty batch": (lambda: linfa.Descent(0.1, 5, batch=0), "whole number ≥ 1 of samples; got 0"),
    "no time": (lambda: linfa.Flow(0.0), "end of time must be finite and > 0; got t = 0"),
    "for ever": (lambda: linfa.Flow(np.inf), "end of time must be finite and > 0; got t = inf"),
    "too fine a tolerance": (lambda: linfa.Flow(1.0, rtol=1e-16), "rtol ≥ 1e-13 and atol ≥ 1e-100; got 1e-16"),
    "no absolute tolerance": (lambda: linfa.Flow(1.0, atol=0.0), "atol ≥ 1e-100; got 1e-09 and 0.0"),
    "an unknown method": (lambda: linfa.Flow(1.0, method="Euler"), "known methods are DOP853, .*; got 'Euler'"),
    "no saves of a flow": (lambda: linfa.Flow(1.0, saves=0), "saves and max_steps must be whole numbers ≥ 1; got 0"),
    "steady at zero": (lambda: linfa.Flow(1.0, steady=0.0), "steady must be > 0, or None"),
    "a task of other widths": (
        lambda: linfa.solve(full(), linfa.Task.teacher(5, 2, 0), linfa.Flow(1.0)),
        r"from 5 inputs to 2 outputs; the network has widths \(2, 3, 2\): its first must be 5 and its last 2",
    ),
    "a batch beyond the samples": (
        lambda: linfa.solve(full(), TASK, linfa.Descent(0.1, 1, batch=3)),
        "a batch of 3 is more than the 2 samples there are",
    ),
    "mini-batches of moments": (
        lambda: linfa.solve(full(), MOMENTS, linfa.Descent(0.1, 1, batch=1)),
        "moments only: make it with Task.from_samples",
    ),
    "brSF in continuous time": (
        lambda: linfa.solve(full(linfa.BatchRandomSign((2, 3, 2), 0)), TASK, linfa.Flow(1.0)),
        "redraws its magnitudes at every step, and continuous time has none: use Descent",
    ),
    "signals of brSF without a step": (
        lambda: linfa.BatchRandomSign((2, 3, 2), 0).signals(full().start(), np.eye(2)),
        r"only at a step: use rule.at\(step\)",
    ),
    "feedback of brSF without a step": (
        lambda: linfa.BatchRandomSign((2, 3, 2), 0).stand_ins(full().start()),
        r"only at a step: use rule.at\(step\)",
    ),
    "states that would not fit": (
        lambda: linfa.solve(
            full(net=linfa.Weights((np.ones((20000, 2)), np.ones((2, 20000))))),
            TASK,
            linfa.Descent(0.1, 10**5, saves=10**5),
        ),
        r"takes 59.6 GiB: lower the solver's saves, or solve with states=False",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_what_was_needed_and_what_came(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises(linfa.InputError, match=message) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", ["squared", "softmax-ce", "logistic", "exponential"])
def test_divergence_is_an_error_with_step_layer_and_advice_and_without_warnings(loss, momentum):
    net = linfa.Weights.standard((4, 6, 5, 3), 0)
    for laws in ([], [linfa.laws.MatrixLaw()]):
        with pytest.raises(
            linfa.DivergenceError,
            match=r"diverged: (W_\d|the output) is no longer finite (at|after) step \d+; .* rate 1e\+150 .* lower it",
        ):
            linfa.solve(
                linfa.Full(net, linfa.FeedbackAlignment.random(net, 1)),
                task_of(4, 3, loss=loss),
                linfa.Descent(1e150, 100, momentum=momentum),
                laws=laws,
            )


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_weights_that_are_not_finite_at_the_last_step_are_not_saved(last):
    """Divergence on the very last step has no later step to be found in."""
    net = linfa.Weights.standard((4, 6, 5, 3), 0)
    try:
        run = linfa.solve(linfa.Full(net, linfa.Backprop()), task_of(4, 3), linfa.Descent(1e60, last))
    except linfa.DivergenceError:
        return
    assert all(np.all(np.isfinite(W)) for s in run.states() for W in s.weights)


class Uphill(linfa.Backprop):
    """Gradient ascent: with two layers ẇ grows as w³, which reaches infinity in finite time."""

    def signals(self, state, delta):
        return tuple(-d for d in super().signals(state, delta))


@pytest.mark.parametrize("method", ["DOP853", "RK45", "Radau"])
def test_a_flow_that_blows_up_says_when_and_what_to_try(method):
    net = linfa.Weights((np.full((1, 1), 2.0), np.full((1, 1), 3.0)))
    task = linfa.Task.from_samples(np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(
        linfa.DivergenceError, match=r"diverged: .* at t = 0\.\d+; .*blow up in finite time: start smaller"
    ):
        linfa.solve(linfa.Full(net, Uphill()), task, linfa.Flow(10.0, saves=1, method=method, max_steps=20_000))


def test_stiff_methods_are_not_for_torch():
    torch = pytest.importorskip("torch")
    net = NET.map(torch.as_tensor)
    with pytest.raises(linfa.InputError, match=r"LSODA is for one network of NumPy arrays; .* take DOP853, RK45, RK23"):
        linfa.solve(full(net=net), TASK, linfa.Flow(1.0, method="LSODA"))
    assert linfa.solve(full(net=net), TASK, linfa.Flow(1.0)).status == "finished"


def test_a_missing_extra_is_one_sentence_that_names_it():
    error = linfa.errors.missing_extra("torch", "torch", "to train on a GPU")
    assert str(error) == 'torch is needed to train on a GPU and is not installed: python -m pip install "linfa[torch]"'
    assert isinstance(error, ImportError)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_rule_refuses_a_network_of_other_widths_or_fits_it(name):
    rule = rule_of(name, linfa.Weights.standard((4, 6, 5, 3), 0))
    other = linfa.Weights.standard((4, 7, 5, 3), 0)
    if name in ("bp", "usf-sn"):
        assert linfa.Full(other, rule).rule is rule
    else:
        with pytest.raises(linfa.InputError, match=r"must have shape|is for widths"):
            linfa.Full(other, rule)


def test_annotated_shapes_are_checked_while_tests_run():
    """The hook of conftest is at work: a wrong shape is caught at the call, not three layers on."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", False)
    with pytest.raises(jaxtyping.TypeCheckError, match="principal_angles"):
        linfa.metrics.principal_angles(np.ones((3, 1)), np.ones((4, 1)))


def test_names_of_observables_and_laws_are_checked_before_anything_runs():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    system, steps = linfa.Full(net, linfa.Backprop()), linfa.Descent(0.1, 2)
    with pytest.raises(linfa.InputError, match="loss is recorded already"):
        linfa.solve(system, task, steps, observe={"loss": lambda weights: 0.0})
    with pytest.raises(linfa.InputError, match="neuron came twice"):
        linfa.solve(system, task, steps, laws=[linfa.laws.NeuronLaw(), linfa.laws.NeuronLaw()])


def test_an_observable_that_is_not_finite_is_named():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    with pytest.raises(linfa.InputError, match="gap gave nan"):
        linfa.solve(
            linfa.Full(net, linfa.Backprop()), task, linfa.Descent(0.1, 2), observe={"gap": lambda weights: np.nan}
        )
