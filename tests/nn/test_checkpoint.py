"""Checkpoints: a run that was stopped, killed or interrupted goes on to the same bits; what does not fit is refused."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import linfa
from linfa.errors import ResultError
from linfa.nn import convert, models
from linfa.nn.draws import Gaussian
from linfa.nn.monitors import SignalAngle, WeightAngle
from linfa.nn.rules import FeedbackAlignment, WeightMirror
from linfa.nn.train import SGD, Adam, Crop, Data, Flip, Laws, Monitored, Training, checkpoint, fit

ROOT = Path(__file__).absolute().parents[2]
SGD_M = SGD(linfa.StepDecay(0.05, (2,)), momentum=0.9, decay=1e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(n=20, m=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n + m, 1, 6, 6), generator=g, dtype=torch.uint8)
    y = torch.randint(0, 3, (n + m,), generator=g)
    return Data(x[:n], y[:n], x[n:], y[n:], torch.tensor(127.5), torch.tensor(70.0))


def small(rule="fa", seed=0, width=8, feedback=0):
    """Return a net with everything that has a state: BatchNorm, dropout, feedback."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
            nn.Linear(48, width), nn.ReLU(), nn.Linear(width, 3),
        )  # fmt: skip
    return convert(model, rule, example=torch.zeros(2, 1, 6, 6), seed=feedback)


def training(epochs=3, **changes):
    options = {"optimiser": SGD_M, "batch": 6, "augmentation": (Flip(), Crop(6, 1)), "seed": 4}
    return Training(epochs=epochs, **options | changes)


class StopError(Exception):
    pass


class Stopping:
    """Watches for one step, and does something there."""

    every = 1

    def __init__(self, at, act):
        self.at, self.act = at, act

    def log(self, step):
        if step == self.at:
            self.act()
        return {"number": step}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def stop():
    raise StopError


def watch(at=None, act=stop, laws=False):
    more = {"laws": Laws(3)} if laws else {}
    return {**more, "stop": lambda trained: Stopping(at, act)}


def run(model, path=None, at=None, act=stop, how=None, data=None, every=1, laws=False):
    torch.manual_seed(0)
    how, data = how or training(), data or images()
    return fit(model, data, how, watch=watch(at, act, laws), checkpoint=path, checkpoint_every=every)


def same(a, b):
    """Whether two models hold the same bits, feedback and running means included."""
    old, new = a.state_dict(), b.state_dict()
    return old.keys() == new.keys() and all(
        torch.equal(old[k], new[k]) if isinstance(old[k], torch.Tensor) else old[k] == new[k] for k in old
    )


# The same bits -----------------------------------------------------------------------------------------------------


RULES = {name: name for name in ("bp", "fa", "dfa", "brsf", "kp", "mirror")} | {
    "seeded": FeedbackAlignment(seeded=True)
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", [2, 4, 7])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, rule, at):
    whole, parts = small(RULES[rule]), small(RULES[rule])
    history = run(whole)
    with pytest.raises(StopError):
        run(parts, tmp_path / "run.pt", at)
    # Everything is made anew, from another start: nothing but the file goes from one process to the other.
    again = small(RULES[rule], seed=9)
    resumed = run(again, tmp_path / "run.pt")
    assert same(whole, again)
    assert resumed.dataset.identical(history.dataset)


@pytest.mark.parametrize(
    "how",
    [
        training(optimiser=Adam(0.01, decay=1e-3)),
        training(amp=torch.bfloat16),
        training(optimiser=SGD_M, amp=torch.float16),
        training(held_norms=True),
    ],
    ids=["adam", "bfloat16", "float16", "held"],
)
def test_every_part_with_a_state_goes_on(tmp_path, how):
    whole, again = small(), small(seed=9)
    history = run(whole, how=how)
    with pytest.raises(StopError):
        run(small(), tmp_path / "run.pt", 6, how=how)
    assert run(again, tmp_path / "run.pt", how=how).dataset.identical(history.dataset)
    assert same(whole, again)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("rule", ["fa", "dfa", "kp"])
def test_the_ledger_goes_on_to_the_same_bits(tmp_path, rule):
    def plain(seed=0):
        model = models.make("mlp", widths=(36, 6, 5, 3), seed=seed)
        return convert(model, rule, example=torch.zeros(2, 36))

    whole, again = plain(), plain(9)
    history = run(whole, laws=True)
    with pytest.raises(StopError):
        run(plain(), tmp_path / "run.pt", 5, laws=True)
    assert run(again, tmp_path / "run.pt", laws=True).dataset.identical(history.dataset)
    assert same(whole, again)


def test_a_run_with_nothing_of_its_state_restored_ends_elsewhere(tmp_path):
    """The control: what the checkpoint holds beside the model matters to the last bit."""
    whole, again = small(), small()
    run(whole)
    with pytest.raises(StopError):
        run(small(), tmp_path / "run.pt", 7)
    again.load_state_dict(torch.load(tmp_path / "run.pt", weights_only=True)["parts"]["model"])
    run(again, how=training(epochs=1))
    assert not same(whole, again)


def test_more_epochs_go_on_from_fewer(tmp_path):
    whole, again = small(), small()
    history = run(whole)
    run(again, tmp_path / "run.pt", how=training(epochs=1))
    longer = run(again_anew := small(seed=3), tmp_path / "run.pt")
    assert same(whole, again_anew)
    assert not same(whole, again)
    assert longer.loss.identical(history.loss)


def grown(path, rule="fa", every=3, epochs=(1, 2, 3)):
    """Return the history of three epochs at once, and those of so many on the same checkpoint."""

    def plain(seed=0):
        return convert(models.make("mlp", widths=(36, 6, 5, 3), seed=seed), rule, example=torch.zeros(2, 36))

    def trained(model, epochs, checkpoint=None):
        angles = Monitored((WeightAngle(), SignalAngle()), every)
        look = {"laws": Laws(every), "angles": angles, "all": lambda trained: Remembering(every)}
        return fit(model, images(), training(epochs=epochs), watch=look, checkpoint=checkpoint).dataset

    return trained(plain(), 3), *(trained(plain(seed=k), n, path) for k, n in enumerate(epochs))


class Remembering:
    """Counts how often it was asked."""

    def __init__(self, every):
        self.every, self.asked = every, []

    def log(self, step):
        self.asked.append(step)
        return {"asked": len(self.asked)}

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("rule", ["fa", "kp"])
@pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
def test_what_only_the_end_of_a_shorter_run_has_logged_is_taken_back(tmp_path, rule, every):
    whole, *parts = grown(tmp_path / "run.pt", rule, every)
    assert parts[-1].identical(whole)
    # Each of them has looked at its own end.
    assert [int(part["laws_step"][-1]) for part in parts] == [4, 8, 12]
    assert whole["all_asked"].values.tolist() == list(range(1, len(whole["all_step"]) + 1))


@pytest.mark.usefixtures("as_users_run_it")
def test_a_finished_run_keeps_what_its_end_has_logged(tmp_path):
    whole, first, again = grown(tmp_path / "run.pt", every=5, epochs=(3, 3))
    assert whole["laws_step"].values.tolist() == [5, 10, 12]
    assert again.identical(first)
    assert first.identical(whole)


def test_a_finished_run_is_not_made_again(tmp_path):
    model = small()
    history = run(model, tmp_path / "run.pt")
    again = small(seed=5)
    assert run(again, tmp_path / "run.pt").dataset.identical(history.dataset)
    assert same(model, again)


PROGRAM = """
import os, signal, sys, torch
torch.set_num_threads(1)
from tests.nn.test_checkpoint import run, small
model = small("brsf")
at = int(sys.argv[2])
run(model, sys.argv[1], at, lambda: os.kill(os.getpid(), signal.SIGKILL), every=2)
torch.save(model.state_dict(), sys.argv[1] + ".end")
"""


@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a POSIX signal")
def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    def process(path, at):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path), str(at)], cwd=ROOT, env=environment, check=False
        )

    # Step 7 is in the middle of the second epoch; what was written last is step 6.
    killed = process(tmp_path / "a.pt", 7)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.read(tmp_path / "a.pt")["step"] == 6
    assert process(tmp_path / "a.pt", -1).returncode == 0
    whole = small("brsf")
    run(whole)
    end = torch.load(tmp_path / "a.pt.end", weights_only=True)
    assert all(torch.equal(end[k], v) for k, v in whole.state_dict().items())


# Written whole or not at all ---------------------------------------------------------------------------------------


def test_torch_reads_a_checkpoint_and_runs_nothing(tmp_path):
    run(small(), tmp_path / "run.pt", how=training(epochs=1))
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    assert state["step"] == 4
    assert set(state["parts"]) == {"model", "optimizer", "scaler"}


@pytest.mark.parametrize("breaks", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch, breaks):
    path = tmp_path / "run.pt"
    checkpoint.write(path, {"step": 1})

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, breaks, fail)
        with pytest.raises(ResultError, match=r"no checkpoint can be written to .*no space left on device"):
            checkpoint.write(path, {"step": 2})
    assert checkpoint.read(path) == {"step": 1}
    checkpoint.write(path, {"step": 3})
    assert checkpoint.read(path) == {"step": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


@given(st.data())
def test_any_damage_is_found(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    checkpoint.write(path, {"step": 1, "W": torch.arange(50.0)})
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:at]
    else:
        damaged = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
    path.write_bytes(damaged)
    with pytest.raises(ResultError, match=r"cut short, altered, or no checkpoint of linfa\.nn\.train: delete it"):
        checkpoint.read(path)
    path.write_bytes(whole)
    assert checkpoint.read(path)["step"] == 1


class Touch:
    """Pickled, it would make a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    content = pickle.dumps({"step": Touch(str(tmp_path / "made"))}, protocol=2)
    (tmp_path / "run.pt").write_bytes(content + checkpoint._MARK + hashlib.sha256(content).digest())
    with pytest.raises(ResultError, match="holds more than tensors, numbers and words; it was not run"):
        checkpoint.read(tmp_path / "run.pt")
    assert not (tmp_path / "made").exists()
    pickle.loads(content)["step"].close()  # the control: elsewhere it would have been
    assert (tmp_path / "made").exists()


def test_a_checkpoint_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ResultError, match="there is no checkpoint at"):
        checkpoint.read(tmp_path / "run.pt")


# Refused -----------------------------------------------------------------------------------------------------------


OTHERS = {
    "rule": (lambda path: run(small("usf"), path), "rules: 0 is 'fa' there and 'usf' here"),
    "option": (
        lambda path: run(small(WeightMirror(samples=64)), path.with_name("mirror.pt")),
        "options: 0: samples is '128' there and '64' here",
    ),
    "rate": (
        lambda path: run(small(), path, how=training(optimiser=SGD(0.1))),
        r"training: optimiser: learning_rate is absent there and 0.1 here",
    ),
    "batch": (lambda path: run(small(), path, how=training(batch=5)), "training: batch is 6 there and 5 here"),
    "data": (lambda path: run(small(), path, data=images(seed=1)), r"data: inputs is '\[20, 1, 6, 6\] .*' there"),
    "width": (lambda path: run(small(width=9), path), r"model: 5 is 'Linear\(in_features=48, out_features=8"),
    "epochs": (lambda path: run(small(), path, how=training(epochs=1)), "holds 2 epochs, more than the 1 asked for"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "run.pt"
    run(small(), path, how=training(epochs=2))
    run(small("mirror"), path.with_name("mirror.pt"), how=training(epochs=2))
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_something_else_is_refused(written, name):
    go_on, message = OTHERS[name]
    before = written.read_bytes()
    with pytest.raises(ResultError, match=message):
        go_on(written)
    assert written.read_bytes() == before


def test_a_damaged_checkpoint_is_not_written_over(written, tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(written.read_bytes()[:-1])
    with pytest.raises(ResultError, match="cut short"):
        run(small(), path)


OTHER_FEEDBACK = {
    "another start": ("fa", small, "rho-fa"),
    "another law": ("fa", small, FeedbackAlignment(Gaussian(0.1))),
    "another seed": ("fa", small, "fa", 7),
    "another seed of learnt feedback": ("kp", small, "kp", 7),
    "another seed of redrawn feedback": ("brsf", small, "brsf", 7),
    "another seed of magnitudes": ("frsf", small, "frsf", 7),
    "another seed of direct feedback": ("dfa", small, "dfa", 7),
}


@pytest.mark.parametrize("name", OTHER_FEEDBACK)
def test_feedback_that_was_drawn_otherwise_is_refused_and_left_alone(tmp_path, name):
    rule, make, other, *seed = OTHER_FEEDBACK[name]
    run(make(rule), tmp_path / "run.pt", how=training(epochs=1))
    model = make(other, feedback=seed[0] if seed else 0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        ResultError,
        match=r"the feedback of layers 0, 5, 7 was drawn otherwise: another rule option \(rho, draw\) or seed",
    ):
        run(model, tmp_path / "run.pt")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_seed_that_is_all_a_feedback_holds_is_told(tmp_path):
    run(small(FeedbackAlignment(seeded=True)), tmp_path / "run.pt", how=training(epochs=1))
    with pytest.raises(ResultError, match="options: 0: seed is"):
        run(small(FeedbackAlignment(seeded=True), feedback=7), tmp_path / "run.pt")


def test_one_layer_set_by_hand_is_named_and_the_same_hand_goes_on(tmp_path):
    def by_hand(scale, seed=0):
        model = small(seed=seed)
        model[5].feedback.B.mul_(scale)
        return model

    whole, again = by_hand(2), by_hand(2, seed=9)
    run(whole)
    run(by_hand(2), tmp_path / "run.pt", how=training(epochs=1))
    with pytest.raises(ResultError, match=r"the feedback of layer 5 was drawn otherwise"):
        run(by_hand(3), tmp_path / "run.pt")
    run(again, tmp_path / "run.pt")
    assert same(whole, again)


@pytest.mark.parametrize("rule", ["fa", "brsf", "kp", "mirror"])
def test_the_very_model_that_was_stopped_goes_on_and_so_does_one_made_anew(tmp_path, rule):
    """Learnt feedback has left its start by then: it is known by what the checkpoint holds."""
    path, whole, model, again = tmp_path / "run.pt", small(rule), small(rule), small(rule, seed=9)
    run(whole)
    run(model, path, how=training(epochs=1))
    run(model, path, how=training(epochs=2))
    run(again, path)
    assert same(whole, again)


# Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path):
    path = tmp_path / "run.pt"
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped after step 6 of 12: .*run.pt holds everything; call fit again"
    ):
        run(small(), path, 6, lambda: signal.raise_signal(signal.SIGINT), every=100)
    assert checkpoint.read(path)["step"] == 6
    whole, again = small(), small(seed=2)
    history = run(whole)
    assert run(again, path).dataset.identical(history.dataset)
    assert same(whole, again)


def test_ctrl_c_without_a_checkpoint_says_that_nothing_was_written():
    with pytest.raises(KeyboardInterrupt, match="nothing was written; give fit a checkpoint"):
        run(small(), None, 2, lambda: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        run(small(), None, 2, twice)
    assert "stopped after step" not in str(stopped.value)
