"""torch.compile(fullgraph=True): every rule as in eager, on the very net that inductor compiles wrongly by itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from linfa.nn.draws import Gaussian, seed_of
from tests.nn.compiling import AGAIN, GROUPS
from tests.nn.strategies import RULES

ROOT = Path(__file__).resolve().parents[2]
SLACK = 1e-4
"""Far above float32's rounding on these nets, far below what a wrong signal does (above 0.1)."""


def found():
    command = [sys.executable, "-m", "tests.nn.compiling"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def compiled():
    return found()


@pytest.mark.parametrize("group", GROUPS)
def test_every_rule_is_traced_to_what_it_is(compiled, group):
    assert compiled["; ".join(dict.fromkeys(group))] < SLACK


def test_no_rule_is_left_out():
    assert {name for group in GROUPS for name in group} == {*RULES, *AGAIN}


def test_the_numbers_drawn_are_the_same_in_another_process(compiled):
    assert compiled["drawn"] == Gaussian(1.0)((3,), seed_of(0, "a"), torch.double).tolist()


def test_what_inductor_makes_of_it_is_right(compiled):
    """A seeded, a redrawn, a computed and a fixed B: pytorch/pytorch#185509 for three of them, #197039 for one."""
    assert compiled["inductor"] < SLACK


def test_the_conformance_suite_says_so_too(compiled):
    assert compiled["conformance"] == {}


@pytest.mark.skipif(torch.__version__ >= "2.14", reason="mended there")
def test_without_the_mending_inductor_is_wrong(compiled):
    assert compiled["inductor, not mended"] > 0.1


def test_per_sample_gradients_compiled(compiled):
    """What pytorch/pytorch#129845 reported missing is there for ours."""
    assert compiled["per sample"] == 0
