"""Matrices that are never made: their algebra is that of arrays, and so are the networks that are made of them."""

import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

import linfa
from linfa.matrices import AbstractMatrix, Combination, Factored, Seeded, algebra, gram, inner
from linfa.provenance import describe, digest
from tests.shapes import shapes_unchecked
from tests.strategies import task_of
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
N, M = 41, 23


def atoms(n=N, m=M):
    """One of each kind, of one shape."""
    return {
        "seeded": Seeded((n, m), 0.7, (3, 1)),
        "factored": Factored.random((n, m), 3, 4),
        "transposed": Seeded((m, n), 1.3, 5).mT,
        "sum": 0.5 * Seeded((n, m), 1.0, 6) - 2.0 * Factored.random((n, m), 2, 7),
        "sum of sums": -(Seeded((n, m), 1.0, 8) + 3 * (Seeded((n, m), 1.0, 9) - Seeded((m, n), 1.0, 10).mT)),
        "array": np.random.default_rng(11).standard_normal((n, m)),
    }


KINDS = tuple(atoms())


def close(found, expected, sizes, terms=4 * (N + M)):
    """Agreement to rounding: at most `terms` roundings follow one another on magnitudes of the given size."""
    assert np.shape(found) == np.shape(expected)
    assert np.all(np.abs(found - expected) <= rounding(terms, sizes))


# --------------------------------------------------------------------------------------------------------- the algebra


@pytest.mark.parametrize("block", [1, 1000, algebra.BLOCK_BYTES])
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_array(kind, block, monkeypatch):
    monkeypatch.setattr(algebra, "BLOCK_BYTES", block)
    A, draw = atoms()[kind], np.random.default_rng(0)
    D = np.asarray(A)
    # Factors and terms have magnitudes of their own; they are of the order of one here, and 12 bounds all of them.
    size = 12 * (norm(D) + np.sqrt(N * M))
    V, U = draw.standard_normal((M, 4)), draw.standard_normal((N, 4))
    close(A @ V, D @ V, size * norm(V))
    close(A.mT @ U, D.T @ U, size * norm(U))
    close(V.T @ A.mT, V.T @ D.T, size * norm(V))
    close(U.T @ A, U.T @ D, size * norm(U))
    stack = draw.standard_normal((2, 3, M, 4))
    close(A @ stack, D @ stack, size * norm(stack))
    close(np.asarray(A.mT), D.T, size)
    close(A[3:17], D[3:17], size)
    close(A[:, 2], D[:, 2], size)
    assert A.shape == D.shape == A.mT.shape[::-1]


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_those_of_the_arrays(kind, other):
    A, B = atoms()[kind], atoms()[other]
    D, E = np.asarray(A), np.asarray(B)
    size = 144 * (norm(D) + np.sqrt(N * M)) * (norm(E) + np.sqrt(N * M))
    close(inner(A, B), np.sum(D * E), size, terms=4 * N * M)
    expected = [[np.sum(X * Y) for Y in (D, E)] for X in (D, E)]
    close(np.array(gram(A, B), dtype=float), np.array(expected), size, terms=4 * N * M)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "array"])
def test_sums_and_multiples_are_implicit_and_right(kind):
    A, B = atoms()[kind], atoms()["seeded"]
    D, E = np.asarray(A), np.asarray(B)
    for made, expected in ((2 * A - B, 2 * D - E), (-A + B * 0.5, E / 2 - D), (np.float64(3) * A, 3 * D)):
        assert isinstance(made, Combination)
        close(np.asarray(made), expected, 12 * (1 + np.abs(D) + np.abs(E)))
    # Beside an array of that size nothing is saved: the sum is an array, and so is what needs every entry at once.
    for made, expected in ((A + E, D + E), (E - A, E - D), (np.exp(A), np.exp(D)), (A * A, D * D), (A / 2, D / 2)):
        assert isinstance(made, np.ndarray)
        assert np.array_equal(made, expected)


def test_gram_makes_every_entry_once(monkeypatch):
    W, made = Seeded((300, 200), 1.0, 0), []
    B = 0.6 * W + 0.8 * Seeded((300, 200), 1.0, 1)
    rows = Seeded.rows
    monkeypatch.setattr(Seeded, "rows", lambda A, i, j: made.append(j - i) or rows(A, i, j))
    gram(W, B)
    assert sum(made) == 2 * 300


# --------------------------------------------------------------------------------------------------------------- seeds


@given(
    shape=st.tuples(st.integers(1, 300), st.sampled_from([1, 7, 3000, 70000])),
    cut=st.floats(0, 1),
    block=st.sampled_from([1, 10**4, 10**6]),
)
def test_entries_do_not_know_how_they_are_asked_for(shape, cut, block):
    shape = (min(shape[0], 10**6 // shape[1]), shape[1])
    with shapes_unchecked(), pytest.MonkeyPatch.context() as patch:
        A = Seeded(shape, 0.5, 3)
        whole = np.asarray(A)
        patch.setattr(algebra, "BLOCK_BYTES", block)
        parts = [rows for _, rows in A.blocks()]
        assert np.array_equal(np.concatenate(parts), whole)
        start = int(cut * (shape[0] - 1))
        assert np.array_equal(A.rows(start, shape[0]), whole[start:])
        assert np.array_equal(A.rows(start, start + 1), whole[start : start + 1])


PINNED = [
    [-0.3589214438376389, -0.5851156380469769, -0.3941336927054079],
    [0.005156327752971208, -1.0784658767750883, -0.3858169729355003],
]
PINNED_LAST = [[0.20866561651185905, -1.0075803626579871, 0.5907273764328101]]


def test_a_seed_is_a_matrix():
    """Were these to change, every run that was recorded by its seeds would be another."""
    assert np.allclose(Seeded((2, 3), 1.0, 0)[:], PINNED, rtol=1e-15, atol=0)
    assert np.allclose(Seeded((10**5, 3), 2.0, (1, 2)).rows(99_999, 100_000), PINNED_LAST, rtol=1e-15, atol=0)


def test_numbers_of_numpy_are_numbers():
    assert Seeded((np.int64(3), 2), 1.0, np.int64(5)) == Seeded((3, 2), 1.0, 5) == Seeded((3, 2), 1.0, (5,))
    assert np.array_equal(Seeded((np.int64(3), 2), 1.0, np.uint8(5))[:], Seeded((3, 2), 1.0, 5)[:])


def test_entries_are_independent_normals():
    """Each bound is missed with a probability below 1e-8; seeds are fixed."""
    n, m = 700, 400
    A, B, C = (np.asarray(Seeded((n, m), 2.0, seed)) for seed in (0, 1, (0, 0)))
    D = np.asarray(Seeded((n + 1, m), 2.0, 0))[:-1]
    assert kstest(A.ravel() / 2, "norm").pvalue > 1e-8
    for X, Y in (
        (A, B),
        (A, C),
        (A, D),
        (A[1:], A[:-1]),
        (A[164:], A[:-164]),
        (A[:, 1:], A[:, :-1]),
    ):  # 163 rows are a grain
        assert abs(np.corrcoef(X.ravel(), Y.ravel())[0, 1]) < 6 / np.sqrt(X.size)


def test_start_and_feedback_of_one_seed_are_independent_layer_by_layer():
    net = linfa.Weights.seeded((30, 30, 30, 30), seed=0)
    made = [np.ravel(A) for A in (*net, *linfa.FeedbackAlignment.random(net, rng=0).matrices)]
    correlation = np.corrcoef(made) - np.eye(5)
    assert np.abs(correlation).max() < 6 / np.sqrt(900)
    assert np.allclose([a.std() * np.sqrt(30) for a in made], 1, atol=6 / np.sqrt(1800))


def test_a_generator_gives_a_seed_and_goes_on():
    net, rng = linfa.Weights.seeded((3, 5, 4, 2), seed=0), np.random.default_rng(0)
    first, second = (linfa.FeedbackAlignment.random(net, rng) for _ in range(2))
    assert first.matrices[0].seed != second.matrices[0].seed


# ------------------------------------------------------------------------------------------------------------ networks


WIDTHS = (5, 40, 31, 3)


def nets():
    seeded = linfa.Weights.seeded(WIDTHS, 0)
    low = Factored.random((31, 40), 4, 1)
    return {
        "seeded": seeded,
        "factored": linfa.Weights((seeded[0], low, seeded[2])),
        "mixed": linfa.Weights((np.asarray(seeded[0]), seeded[1], np.asarray(seeded[2]))),
        "mixed sum": linfa.Weights((seeded[0], 0.5 * seeded[1] + low, np.asarray(seeded[2]))),
    }


RULES = {
    "fa": lambda net: linfa.FeedbackAlignment.random(net, 1),
    "fa, factors": lambda net: linfa.FeedbackAlignment((Factored.random((31, 40), 4, 2), Seeded((3, 31), 0.2, 3))),
    "rho-fa": lambda net: linfa.FeedbackAlignment.interpolated(net, 0.6, 1),
    "dfa": lambda net: linfa.DirectFeedback.random(net, 1),
    "dfa-virtual": lambda net: linfa.DirectFeedback.random(net, 1, virtual=True),
    "readout": linfa.DirectFeedback.readout_only,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", nets())
def test_a_run_is_that_of_the_arrays(net, rule):
    """Widths of 40, some tens of steps: a few hundred units of rounding, on every record."""
    net = nets()[net]
    rule = RULES[rule](net)
    made = net.map(np.asarray), dataclasses.replace(rule, matrices=tuple(map(np.asarray, rule.matrices)))
    task, how = (
        task_of(5, 3, N=9, scale=0.5, seed=2),
        linfa.Descent(0.03, 40, batch=4, momentum=0.5, decay=0.01, saves=4),
    )
    run, free, full = (
        linfa.solve(system, task, how)
        for system in (linfa.WidthFree(net, rule), linfa.WidthFree(*made), linfa.Full(*made))
    )
    allowed = rounding(1000, 1 + max(norm(W) for W in full.weights(-1)))
    for other in (free, full):
        assert np.abs(run.loss - other.loss).max() <= allowed
    if rule.layerwise:
        assert np.abs(run.alignment - full.alignment).max() <= allowed
        assert np.abs(run.dataset["layer_law"] - free.dataset["layer_law"]).max() <= allowed
    assert np.abs(full.loss[-1] - full.loss[0]) > 1e-3
    for k in (0, 2, 4):
        states = ((*s.weights, *s.learnt) for s in (run.state(k), full.state(k)))
        for W, W_full in zip(*states, strict=True):
            assert norm(W[1:3] - W_full[1:3]) <= allowed
            assert norm(np.asarray(W) - W_full) <= allowed
    assert isinstance(run.weights(-1)[1], AbstractMatrix)


def test_laws_and_the_full_net_work_where_entries_fit(tmp_path):
    net, task, law = nets()["seeded"], linfa.Task.teacher(5, 3, 0), linfa.laws.MatrixLaw()
    rule, how = linfa.FeedbackAlignment.random(net, 1), linfa.Descent(0.03, 10, saves=2)
    free, full = (linfa.solve(system(net, rule), task, how, laws=[law]) for system in (linfa.WidthFree, linfa.Full))
    assert np.abs(law.drift(free) - law.drift(full)).max() <= rounding(1000, 10.0)
    assert law.drift(free).max() > 1e-5
    loaded = linfa.Trajectory.load(free.save(tmp_path / "run.nc"))
    assert np.array_equal(loaded.rule.matrices[0], rule.matrices[0])


def test_nothing_is_made_whole(monkeypatch):
    """Blocks and bases are all that is ever held: a quarter of one hidden matrix, here."""
    n, most = 2500, []
    net = linfa.Weights.seeded((5, n, n, 3), 0)
    rule = linfa.FeedbackAlignment.interpolated(net, 0.5, 1)
    rows = Seeded.rows

    def watched(A, start, stop):
        most.append((stop - start) * A.shape[1] * 8)
        return rows(A, start, stop)

    monkeypatch.setattr(Seeded, "rows", watched)
    monkeypatch.setattr(algebra, "BLOCK_BYTES", 2**20)
    tracemalloc.start()
    try:
        run = linfa.solve(linfa.WidthFree(net, rule), linfa.Task.teacher(5, 3, 2), linfa.Descent(1 / n, 20))
        assert run.weights(-1)[1].rows(7, 9).shape == (2, n)
        assert tracemalloc.get_traced_memory()[1] < n * n * 8 / 4
    finally:
        tracemalloc.stop()
    assert max(most) <= 2**20
    assert run.loss[-1] < run.loss[0]


def test_arrays_are_multiplied_without_copies_of_their_size():
    n = 1200
    net = linfa.Weights.standard((5, n, n, 3), 0)
    rule = linfa.FeedbackAlignment.random(net, 1)
    tracemalloc.start()
    try:
        linfa.WidthFree(net, rule)
        assert tracemalloc.get_traced_memory()[1] < n * n * 8 / 4  # a byte per entry while they are checked
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["fa", "rho-fa", "dfa"])
def test_wide_layers_of_low_rank_cost_their_factors(name):
    n = 10**5
    ends, low = linfa.Weights.seeded((20, n, n, 5), 0), Factored.random((n, n), 6, 1)
    net = linfa.Weights((ends[0], low, ends[2]))
    rule = {
        "fa": lambda: linfa.FeedbackAlignment((Factored.random((n, n), 6, 2), Seeded((5, n), n**-0.5, 3))),
        "rho-fa": lambda: linfa.FeedbackAlignment((0.6 * low + 0.8 * Factored.random((n, n), 6, 2), ends[2])),
        "dfa": lambda: linfa.DirectFeedback.random(net, 2),
    }[name]()
    run = linfa.solve(linfa.WidthFree(net, rule), linfa.Task.teacher(20, 5, 2), linfa.Descent(0.3 / n, 50))
    assert run.loss[-1] < 0.95 * run.loss[0]
    assert run.weights(-1)[1].rows(n - 2, n).shape == (2, n)
    if name == "rho-fa":
        assert abs(run.alignment[0, 0] - 0.6) < 0.01
        assert abs(run.alignment[0, 1] - 1) <= rounding(10 * n, 1.0)


# ----------------------------------------------------------------------------------------------- provenance, and errors


def test_a_description_names_what_was_given():
    net = linfa.Weights.seeded((3, 10**9, 2), 7)
    described = describe(net)["matrices"][0]
    assert {k: described[k] for k in ("type", "shape", "seed")} == {
        "type": "Seeded",
        "shape": [10**9, 3],
        "seed": [7, 0, 1],
    }
    assert (
        digest(net) == digest(linfa.Weights.seeded((3, 10**9, 2), 7)) != digest(linfa.Weights.seeded((3, 10**9, 2), 8))
    )
    A, B = atoms()["sum"], atoms()["sum of sums"]
    assert digest(A) == digest(atoms()["sum"]) != digest(B)
    for A in atoms().values():
        assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(A))), np.asarray(A))


MISTAKES = {
    "a shape of one number": (lambda: Seeded((3,), 1.0, 0), r"a shape \(n, m\) of whole numbers ≥ 1; got \(3,\)"),
    "no row": (lambda: Seeded((0, 2), 1.0, 0), r"whole numbers ≥ 1; got \(0, 2\)"),
    "half a row": (lambda: Seeded((2.5, 2), 1.0, 0), "whole numbers ≥ 1"),
    "a negative scale": (lambda: Seeded((3, 2), -1.0, 0), "scale must be finite and ≥ 0; got -1"),
    "a nan scale": (lambda: Seeded((3, 2), np.nan, 0), "scale must be finite and ≥ 0; got nan"),
    "a negative seed": (lambda: Seeded((3, 2), 1.0, -1), "a seed is a whole number ≥ 0, or a tuple of these; got -1"),
    "no seed": (lambda: linfa.Weights.seeded((3, 2), None), "a seed is a whole number ≥ 0"),
    "rows that are not there": (lambda: Seeded((3, 2), 1.0, 0).rows(2, 5), "counted from 0 to 3; got 2 to 5"),
    "factors of two ranks": (
        lambda: Factored(np.ones((3, 2)), np.ones((4, 1))),
        r"\(n, r\) and \(m, r\); got \(3, 2\)",
    ),
    "a factor of whole numbers": (
        lambda: Factored(np.ones((3, 1), int), np.ones((4, 1))),
        "factor U must be a real .*int64",
    ),
    "a factor that is a list": (
        lambda: Factored(np.ones((3, 1)), [[1.0]]),
        r"factor V must be a real .* got list of shape",
    ),
    "a factor with nan": (lambda: Factored(np.ones((3, 1)), np.full((4, 1), np.nan)), "the factor V holds nan or inf"),
    "a sum of two shapes": (
        lambda: Seeded((3, 2), 1.0, 0) + Seeded((2, 3), 1.0, 0),
        r"matrices of one shape can be added; got \(2, 3\) and \(3, 2\)",
    ),
    "nan times a matrix": (lambda: np.nan * Seeded((3, 2), 1.0, 0), "every coefficient must be finite; got .*nan"),
    "a product that does not fit": (lambda: Seeded((3, 2), 1.0, 0) @ np.ones((3, 2)), r"got \(3, 2\) and \(3, 2\)"),
    "a product with a vector": (
        lambda: Seeded((3, 2), 1.0, 0) @ np.ones(2),
        r"needs matrices .* got \(3, 2\) and \(2,\)",
    ),
    "all of a large matrix": (
        lambda: np.asarray(Seeded((10**6, 10**6), 1.0, 0)),
        r"\(1000000, 1000000\) takes 7\.45e\+03 GiB as an array, and no more than 1 GiB .*: multiply it, or take some",
    ),
    "two large matrices multiplied": (
        lambda: Factored.random((10**6, 4), 1, 0) @ Seeded((4, 10**6), 1.0, 0),
        "GiB as an array",
    ),
    "a place on a gpu": (lambda: Seeded((3, 2), 1.0, 0).to_device("cuda"), "on the cpu; got 'cuda'"),
    "feedback of another shape": (
        lambda: linfa.WidthFree(linfa.Weights.seeded((3, 4, 2), 0), linfa.FeedbackAlignment((Seeded((2, 5), 1.0, 0),))),
        r"B_2 must have shape \(2, 4\); got \(2, 5\)",
    ),
    "layers that do not chain": (
        lambda: linfa.Weights((Seeded((4, 3), 1.0, 0), Seeded((2, 5), 1.0, 0))),
        r"must chain: W_1 \(4, 3\) gives 4 units, but W_2 \(2, 5\) takes 5",
    ),
    "factors whose product is too large": (
        lambda: linfa.WidthFree(
            linfa.Weights((np.eye(3), Factored(np.full((3, 1), 1e200), np.full((3, 1), 1e200)), np.eye(3))),
            linfa.FeedbackAlignment((np.eye(3), np.eye(3))),
        ),
        "𝒢_2 must be finite",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said(mistake, as_users_run_it):
    make, says = MISTAKES[mistake]
    with pytest.raises(linfa.InputError, match=says), np.errstate(over="ignore", invalid="ignore"):
        make()


def test_what_needs_all_entries_of_a_wide_net_says_so():
    net, task, how = linfa.Weights.seeded((3, 2 * 10**4, 2), 0), linfa.Task.teacher(3, 2, 1), linfa.Descent(1e-5, 5)
    system = linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 1))
    neuron = linfa.laws.NeuronLaw()  # 2·10⁴ numbers fit
    assert neuron.drift(linfa.solve(system, task, how, laws=[neuron])).max() > 0
    with pytest.raises(linfa.InputError, match=r"\(20000, 20000\) takes 2\.98 GiB as an array"):
        linfa.solve(system, task, how, laws=[linfa.laws.MatrixLaw()])
