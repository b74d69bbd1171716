"""Two processes on the CPU: the gradients of one, the same feedback in both, and one that writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from linfa.errors import InputError, ResultError
from linfa.nn import convert, models, targets
from linfa.nn.train import SGD, Data, History, Laws, Processes, Training, checkpoint, fit, joined
from linfa.nn.train.__main__ import main

ROOT = Path(__file__).absolute().parents[2]
RULES = ("bp", "fa", "dfa", "brsf", "usf", "drtp", "kp", "activation")
EPS = torch.finfo(torch.double).eps


def net(rule, seed=0):
    model = models.make("mlp", widths=(5, 8, 6, 3)).double()
    return convert(model, rule, example=torch.zeros(2, 5, dtype=torch.double), seed=seed)


def data(n=24, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n + 9, 5, generator=g, dtype=torch.double), torch.randint(0, 3, (n + 9,), generator=g)
    return Data(x[:n], y[:n], x[n:], y[n:])


def gradients(rule, processes):
    """Return the gradients of a batch of ten, of which this process sees its part."""
    model, (x, y) = net(rule), (data().inputs[:10], data().targets[:10])
    called, at = processes.wrap(model), processes.part(10)
    with targets(model, y[at]):
        nn.functional.cross_entropy(called(x[at]), y[at]).backward()
    return [p.grad for p in model.parameters()]


class Ranked:
    every = 1

    def __init__(self, trained):
        self.rank = trained.processes.rank

    def log(self, step):
        return {"rank": torch.tensor(float(self.rank))}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


# Five samples in the last batch: one process has one more than the other.
TRAINING = Training(SGD(0.05, momentum=0.9, decay=1e-2), epochs=3, batch=8)
UNEVEN = Training(SGD(0.05), epochs=2, batch=19)


def trained(rule, training, path=None, watch=None):
    model = net(rule)
    return model, fit(model, data(), training, watch=watch, checkpoint=path, checkpoint_every=2)


COMMAND = ["--widths", "16", "--epochs", "1", "--rule", "usf", "--laws", "6", "--device", "cpu"]


def normed(seed=0, eps=1e-5):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return convert(
            nn.Sequential(
                nn.Linear(5, 6), nn.BatchNorm1d(6, eps), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3)
            ).double(),
            "fa",
        )


def worker(folder):
    """Do in one process of two everything that the tests below look at."""
    torch.set_num_threads(1)
    folder, found = Path(folder), {}
    with joined("cpu") as (_, rank):
        processes = Processes.here()
        assert (processes.rank, processes.size) == (rank, 2)
        found["gradients"] = {rule: gradients(rule, processes) for rule in RULES}
        for rule in RULES:
            model, run = trained(
                rule, TRAINING, watch={"ranked": Ranked} | ({"laws": Laws(1)} if rule == "dfa" else {})
            )
            found[f"fit {rule}"] = dict(model.state_dict())
            found[f"rows {rule}"] = run.loss.values.tolist() + run.test_loss.values.tolist()
            if rule == "dfa":
                found["units"] = float(run.dataset["laws_units"].max())
            found["ranks"] = run.dataset["ranked_rank"].values.tolist()
        run = fit(normed(eps=0.1), data(), TRAINING, watch={"laws": Laws(4)}, checkpoint=folder / "laws.pt")
        found["normed units"] = float(run.dataset["laws_units"].max())
        found["normed drift"] = float(run.dataset["laws_drift"].max())
        found["uneven"] = dict(trained("fa", UNEVEN)[0].state_dict())
        try:
            fit(net("fa", seed=rank), data(), TRAINING)
        except InputError as error:
            found["refused"] = str(error)
        try:
            fit(net("drtp"), data(), UNEVEN)
        except InputError as error:
            found["uneven targets"] = str(error)
        # Each process names a file of its own: only the first may write it.
        trained("fa", TRAINING, folder / f"by{rank}.pt")
        torch.manual_seed(rank)
        whole = normed()
        fit(whole, data(), TRAINING)
        torch.manual_seed(rank)
        path = folder / "shared.pt"
        fit(normed(), data(), Training(TRAINING.optimiser, epochs=1, batch=8), checkpoint=path, checkpoint_every=2)
        torch.manual_seed(7)
        again = normed(3)
        distributed.barrier()
        fit(again, data(), TRAINING, checkpoint=path)
        found["whole"], found["again"] = whole.state_dict(), again.state_dict()
    torch.save(found, folder / f"found{rank}.pt")


def torchrun(*program):
    """Return what a module prints that torchrun runs in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *program]
    more = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=ROOT, env=more, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
    return run.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("processes")
    torchrun("tests.nn.test_distributed", str(folder))
    results = [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in (0, 1)]
    return folder, results


def close(a, b, terms):
    """Whether two tensors agree as far as sums of so many terms in another order must."""
    return bool(((a - b).abs() <= terms * EPS * (a.abs().max() + b.abs().max())).all())


@pytest.mark.parametrize("rule", RULES)
def test_gradients_of_two_processes_are_those_of_one(found, rule):
    _, results = found
    alone = gradients(rule, Processes())
    for result in results:
        # Ten samples, and at most eight numbers in each of three layers there and back.
        assert all(close(a, b, 10 + 6 * 8) for a, b in zip(alone, result["gradients"][rule], strict=True))
    assert any(bool(g.abs().max() > 1e-3) for g in alone)


def test_without_the_mean_over_processes_gradients_differ():
    """The control: half of the batch has gradients of its own."""
    alone, half = gradients("fa", Processes()), gradients("fa", Processes(0, 1))
    assert all(close(a, b, 1) for a, b in zip(alone, half, strict=True))
    model, at = net("fa"), slice(0, 10, 2)
    nn.functional.cross_entropy(model(data().inputs[at]), data().targets[at]).backward()
    assert not any(close(a, p.grad, 1e6) for a, p in zip(alone, model.parameters(), strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_two_processes_train_as_one(found, rule):
    _, results = found
    model, run = trained(rule, TRAINING)
    state, steps = model.state_dict(), 9
    rows = run.loss.values.tolist() + run.test_loss.values.tolist()
    for result in results:
        # Nine steps, each of which may stretch what the one before left by its own size.
        assert all(close(v, result[f"fit {rule}"][k], 60 * 2**steps) for k, v in state.items() if v.is_floating_point())
        assert result[f"rows {rule}"] == pytest.approx(rows, rel=60 * 2**steps * EPS)
    both = [result[f"fit {rule}"] for result in results]
    assert all(torch.equal(both[0][k], both[1][k]) for k in state)


def test_an_uneven_last_batch_weighs_every_sample_alike(found):
    _, results = found
    state = trained("fa", UNEVEN)[0].state_dict()
    assert all(close(v, results[0]["uneven"][k], 60 * 2**4) for k, v in state.items())


def test_what_is_watched_is_the_mean_over_processes(found):
    _, results = found
    assert all(set(result["ranks"]) == {0.5} for result in results)


def test_the_account_of_taps_holds_over_two_processes(found):
    _, results = found
    assert max(result["units"] for result in results) < 10


def test_the_account_of_a_batch_norm_s_eps_holds_over_two_processes(found):
    """Each normalises its own part of the batch, with a variance of its own."""
    _, results = found
    for result in results:
        assert result["normed units"] < 10
        assert result["normed drift"] > 1e-3


@pytest.mark.usefixtures("found")
def test_torchrun_trains_by_the_command_line(tmp_path):
    told = torchrun("linfa.nn.train", *COMMAND, "--out", str(tmp_path / "both.nc"))
    assert told.startswith("usf: 1 epochs, 12 steps")  # and once, by the first process
    assert told.count("stays put, 16 channels") == 1
    both = History.load(tmp_path / "both.nc")
    main([*COMMAND, "--out", str(tmp_path / "alone.nc")])
    alone = History.load(tmp_path / "alone.nc")
    # Twelve steps of single precision, each of which may stretch what the one before left by its own size.
    assert both.loss.values == pytest.approx(alone.loss.values, rel=128 * 2**12 * torch.finfo(torch.float).eps)
    assert both.test_accuracy.values == pytest.approx(alone.test_accuracy.values, abs=0.01)


def test_processes_with_other_feedback_are_refused(found):
    _, results = found
    for result in results:
        assert result["refused"].startswith("processes 0 and 1 start from different fc1.feedback.B, fc2.feedback.B")
        assert "with the same seeds everywhere" in result["refused"]


def test_uneven_parts_are_refused_where_targets_are_sent_back(found):
    _, results = found
    assert all("take another batch" in result["uneven targets"] for result in results)


def test_only_the_first_process_writes(found):
    folder, _ = found
    assert (folder / "by0.pt").is_file()
    assert not (folder / "by1.pt").exists()
    assert checkpoint.read(folder / "by0.pt")["step"] == 9


def test_two_processes_go_on_to_the_same_bits(found):
    _, results = found
    for result in results:
        assert all(torch.equal(v, result["again"][k]) for k, v in result["whole"].items())
    assert all(torch.equal(v, results[1]["whole"][k]) for k, v in results[0]["whole"].items())


def test_a_checkpoint_of_two_processes_is_refused_by_one(found):
    folder, _ = found
    with pytest.raises(ResultError, match="processes is 2 there and 1 here"):
        fit(normed(), data(), TRAINING, checkpoint=folder / "shared.pt")


if __name__ == "__main__":
    worker(sys.argv[1])
