"""Studies: every cell kept as soon as it is done, the same bits after an interruption, nothing stale, nothing torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import linfa
from linfa.trajectory import content_digest
from sims import conservation, practical_law, rule_laws
from sims.registry import STUDIES, find
from sims.study import Interrupted, Study, collect, path_of, source_digest

ROOT = Path(__file__).resolve().parent.parent


def small(fast: bool) -> tuple[conservation.Cell, ...]:
    """A handful of cells of the real study, cut down to a fraction of a second."""
    flow = linfa.Flow(t=0.1, saves=4)
    steps = linfa.Descent(0.05, 6, batch=16, momentum=0.9, decay=1e-3, saves=3)
    base = conservation.Cell("digits", 200, (64, 5, 4, 10), "fa", "squared", flow, "flow")
    return (base, replace(base, rule="dfa"), replace(base, solver=steps, clock="sgd", loss="softmax-ce"))


SMALL = replace(conservation.STUDY, name="small", cells=small)


class InProcess(Executor):
    """Runs each task at once, in this process, and counts; stops by ctrl-C after a given number."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.count, self.stop_after = 0, stop_after

    def submit(self, fn, /, *args, **kwargs):
        if self.count == self.stop_after:
            raise KeyboardInterrupt
        self.count += 1
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_second_run_computes_nothing(tmp_path):
    first, second = InProcess(), InProcess()
    collect(SMALL, cache=tmp_path, executor=first, progress=False)
    collect(SMALL, cache=tmp_path, executor=second, progress=False)
    assert (first.count, second.count) == (3, 0)


def test_interrupted_and_resumed_gives_the_uninterrupted_bits(tmp_path):
    whole = collect(SMALL, cache=tmp_path / "a", executor=InProcess(), progress=False)
    with pytest.raises(Interrupted, match="goes on from there"):
        collect(SMALL, cache=tmp_path / "b", executor=InProcess(stop_after=2), progress=False)
    resumed = InProcess()
    again = collect(SMALL, cache=tmp_path / "b", executor=resumed, progress=False)
    assert resumed.count == 1
    for one, other in zip(whole, again, strict=True):
        assert content_digest(one.data) == content_digest(other.data)


def test_a_thread_pool_serves_as_executor_and_gives_the_same_bits(tmp_path):
    alone = collect(SMALL, cache=tmp_path / "a", executor=InProcess(), progress=False)
    with ThreadPoolExecutor(2) as pool:
        together = collect(SMALL, cache=tmp_path / "b", executor=pool, progress=False)
    assert [content_digest(r.data) for r in alone] == [content_digest(r.data) for r in together]


def test_a_result_cut_in_half_is_computed_again(tmp_path):
    collect(SMALL, cache=tmp_path, executor=InProcess(), progress=False)
    victim = path_of(SMALL, small(True)[1], source_digest(SMALL), tmp_path)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    again = InProcess()
    collect(SMALL, cache=tmp_path, executor=again, progress=False)
    assert again.count == 1


def test_another_configuration_or_another_source_has_another_file():
    cell, source = small(True)[0], source_digest(SMALL)
    assert path_of(SMALL, cell, source) != path_of(SMALL, replace(cell, seed=1), source)
    assert path_of(SMALL, cell, source) != path_of(SMALL, cell, "another source")


def test_an_edit_of_what_a_study_imports_is_another_source(monkeypatch):
    before = [source_digest(study) for study in (rule_laws.STUDY, practical_law.STUDY, conservation.STUDY)]
    read = Path.read_bytes
    edited = Path(practical_law.__file__)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b" " * (path == edited))
    after = [source_digest(study) for study in (rule_laws.STUDY, practical_law.STUDY, conservation.STUDY)]
    assert [a != b for a, b in zip(after, before, strict=True)] == [True, True, False]


def test_no_unfinished_file_is_left_behind(tmp_path):
    collect(SMALL, cache=tmp_path, executor=InProcess(), progress=False)
    assert sorted(p.suffix for p in (tmp_path / "small").iterdir()) == [".nc"] * 3


def test_the_laws_hold_and_the_controls_drift(tmp_path):
    flow, dfa, sgd = (r.data for r in collect(SMALL, cache=tmp_path, executor=InProcess(), progress=False))
    for data in (flow, dfa, sgd):
        for law in linfa.laws.REGISTRY:
            if f"{law}_residual" in data:
                assert bool((data[f"{law}_residual"] <= data[f"{law}_bound"]).all()), law
    assert float(flow["control_balancedness"].max()) > 1e-6
    assert float(sgd["neuron_drift"].max()) > 1e6 * float(sgd["neuron_residual"].max())


def test_every_rule_stands_in_the_fast_preset_of_conservation():
    fast = conservation.cells(True)
    assert {cell.rule for cell in fast} == set(linfa.rules.REGISTRY)
    assert {len(cell.widths) - 1 for cell in fast if cell.rule == "fa"} == {2, 3, 4, 5}
    assert len(set(fast)) == len(fast)


def test_the_drift_of_plain_steps_has_the_predicted_slope():
    # D2: drift/η → ½∫‖U‖²dt. The left-point sum over the run's own moments differs from the integral by O(η).
    results = {}
    for rate in (0.04, 0.02):
        solver = linfa.Descent(rate, round(0.8 / rate), saves=round(0.8 / rate))
        cell = conservation.Cell("digits", 400, (64, 8, 10), "fa", "squared", solver, "descent")
        data = conservation.compute(cell)
        left = 0.5 * rate * rate * np.cumsum(data["power"].values[:-1], axis=0)
        # D1 is exact at every step, not only in the limit.
        np.testing.assert_allclose(data["layer_drift"].values[1:], left, rtol=1e-9)
        results[rate] = float(data["layer_drift"][-1, 0])
    assert 1.8 < results[0.04] / results[0.02] < 2.2


def test_an_unknown_study_is_named_with_the_known_ones():
    with pytest.raises(linfa.InputError, match=r"conservation.*nonsense"):
        find(["nonsense"])
    assert find([]) == list(STUDIES.values())


def run_rooms(*words: str, cache: Path, **options) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LINFA_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sims", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **options)


def test_the_command_lists_studies_and_refuses_unknown_ones(tmp_path):
    assert "conservation" in run_rooms("--list", cache=tmp_path).stdout
    wrong = run_rooms("nonsense", cache=tmp_path)
    assert wrong.returncode == 2
    assert "known studies" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_ctrl_c_keeps_what_was_finished(tmp_path):
    environment = {**os.environ, "LINFA_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sims", "conservation", "--fast", "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    folder, deadline = tmp_path / "conservation", time.monotonic() + 120
    while not list(folder.glob("*.nc")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    kept = list(folder.glob("*.nc"))
    assert process.returncode == 130, errors
    assert "goes on from there" in errors
    assert 0 < len(kept) < len(conservation.cells(True))
    assert [p for p in folder.iterdir() if p.suffix != ".nc"] == []


def test_a_study_says_what_it_claims():
    for study in STUDIES.values():
        assert isinstance(study, Study)
        assert study.claim.endswith(".")
        assert study.cells(True)
