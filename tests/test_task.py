"""Tasks: moments and samples say the same, teachers have their spectrum, whitening whitens, noise is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.losses import LOSSES
from tests.strategies import network, seeds, task_of
from tests.tolerance import rounding

norm = np.linalg.norm
shapes = {"n_in": st.integers(1, 8), "n_out": st.integers(1, 6), "N": st.integers(1, 20), "rank": st.integers(1, 8)}


@given(**shapes, seed=seeds)
def test_moments_and_samples_give_the_same_loss_and_the_same_signal(n_in, n_out, N, rank, seed):
    task = task_of(n_in, n_out, N=N, rank=rank, seed=seed)
    known = linfa.Task.from_moments(task.second, task.cross, task.target_second)
    net = network((n_in, 4, n_out), seed=seed)
    results = []
    for batch in (task.samples(net[0]), task.everything(net[0]), known.everything(net[0])):
        system = linfa.Full(net, linfa.FeedbackAlignment.random(net, seed))
        passes = system.passes(system.start(), batch)
        results.append((float(batch.value(passes.activities[-1])), passes.updates()))
    size = (norm(task.inputs) * 3 + norm(task.targets)) ** 2 / N
    # The optimum is solved for, with a pseudo-inverse of the moments of full rank or of a clear gap.
    for value, U in results[1:]:
        assert abs(value - results[0][0]) <= rounding(100 * (N + n_in), size)
        assert all(norm(a - b) <= rounding(4 * (N + n_in + 8), 3 * size) for a, b in zip(U, results[0][1], strict=True))


@given(**shapes, seed=seeds, loss=st.sampled_from(list(LOSSES)))
def test_a_batch_of_everything_is_the_mean_over_batches_of_one(n_in, n_out, N, rank, seed, loss):
    task = task_of(n_in, n_out, N=N, loss=loss, rank=rank, scale=0.3, seed=seed)
    net = network((n_in, n_out), seed=seed)
    whole = task.samples(net[0])
    f = task.inputs @ net[0].T
    singles = [whole.take(np.array([i])) for i in range(N)]
    values = [float(b.value(f[i : i + 1])) for i, b in enumerate(singles)]
    signals = [b.signal(f[i : i + 1])[0] for i, b in enumerate(singles)]
    assert float(whole.value(f)) == pytest.approx(np.mean(values), rel=float(rounding(4 * N + 8, 1)))
    assert np.abs(whole.signal(f) - np.array(signals) / N).max() <= rounding(8, np.abs(signals).max())


@given(seed=seeds, n_in=st.integers(1, 8), n_out=st.integers(1, 8), data=st.data())
def test_a_teacher_has_the_spectrum_and_rank_it_was_asked_for(seed, n_in, n_out, data):
    most = min(n_in, n_out)
    spectrum = data.draw(st.lists(st.sampled_from([3.0, 2.0, 1.0, 0.5]), min_size=1, max_size=most))
    rank = data.draw(st.integers(0, len(spectrum)))
    task = linfa.Task.teacher(n_in, n_out, seed, spectrum=spectrum, rank=rank)
    got = np.linalg.svd(task.cross)[1]
    wanted = sorted(spectrum[:rank], reverse=True) + [0.0] * (most - rank)
    assert got == pytest.approx(np.array(wanted), abs=float(rounding(8 * (n_in + n_out), 3)))
    assert np.array_equal(task.second, np.eye(n_in))
    # A teacher is realisable: its own loss is zero.
    assert task.everything(np.zeros(1)).floor <= rounding(40 * (n_in + n_out), 9 * most)


@given(seed=seeds, n=st.integers(1, 8))
def test_a_teacher_has_the_input_spectrum_it_was_asked_for(seed, n):
    wanted = np.linspace(0.0, 2.0, n)
    task = linfa.Task.teacher(n, 2, seed, input_spectrum=wanted)
    assert np.linalg.eigvalsh(task.second) == pytest.approx(wanted, abs=float(rounding(16 * n + 8, 2)))


@given(**shapes, seed=seeds, moments=st.booleans())
def test_whitening_makes_the_inputs_white_on_their_span_and_keeps_the_best_loss(n_in, n_out, N, rank, seed, moments):
    task = task_of(n_in, n_out, N=N, rank=rank, moments=moments, seed=seed)
    white = task.whitened()
    r = min(rank, N, n_in)
    slack = float(rounding(100 * (N + n_in), 1))
    assert np.linalg.eigvalsh(white.second) == pytest.approx(np.array([0.0] * (n_in - r) + [1.0] * r), abs=slack)
    assert white.origin["whitened"] is True
    floors = [
        linfa.Task.from_moments(t.second, t.cross, t.target_second).everything(np.zeros(1)).floor for t in (task, white)
    ]
    assert floors[0] == pytest.approx(floors[1], abs=slack * (1 + norm(task.target_second)))


def digits_like(N=60, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (N, 1, 3, 3), dtype=np.uint8), np.arange(N) % classes


@given(noise=st.sampled_from([0.0, 0.1, 0.25, 1.0]), seed=seeds, classes=st.integers(2, 6))
def test_label_noise_moves_exactly_its_fraction_and_always_to_another_class(noise, seed, classes):
    images, labels = digits_like(classes=classes)
    task = linfa.Task.from_data(images, labels, label_noise=noise, rng=seed)
    moved = np.argmax(task.targets, axis=1) != labels
    assert moved.sum() == round(noise * 60)
    assert task.origin["label_noise"] == noise


def test_images_are_centred_and_scaled_by_the_training_set_alone():
    images, labels = digits_like()
    test_images, test_labels = digits_like(20, seed=1)
    task = linfa.Task.from_data(images, labels, test_images, test_labels)
    assert np.abs(task.inputs.mean(0)).max() < 1e-14
    assert np.mean(np.sum(task.inputs**2, axis=1)) == pytest.approx(9)
    x = images.reshape(60, 9).astype(float)
    scale = np.sqrt(np.mean((x - x.mean(0)) ** 2))
    assert task.test.inputs == pytest.approx((test_images.reshape(20, 9) - x.mean(0)) / scale)


def test_classes_choose_and_number_the_labels():
    images, labels = digits_like()
    task = linfa.Task.from_data(images, labels, classes=[3, 1], loss=linfa.Logistic())
    assert task.targets.shape == (30, 1)
    assert np.array_equal(task.targets[:, 0], np.where(labels[np.isin(labels, [1, 3])] == 1, 1.0, -1.0))
    few = linfa.Task.from_data(images, labels, samples=7, rng=3)
    assert few.inputs.shape == (7, 9)


def test_accuracy_counts_what_is_right():
    task = linfa.Task.from_samples(np.eye(3), np.eye(3))
    assert float(linfa.metrics.accuracy(linfa.Weights((np.eye(3)[[1, 0, 2]],)), task)) == pytest.approx(1 / 3)
    margin = linfa.Task.from_samples(np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]]), linfa.Logistic())
    assert float(linfa.metrics.accuracy(linfa.Weights((np.ones((1, 1)),)), margin)) == 0.5
