"""The wheel: only linfa is in it, and installed elsewhere it works without the checkout."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

USE = """
import linfa
net = linfa.Weights.standard((3, 8, 2), rng=0)
rule = linfa.FeedbackAlignment.random(net, rng=1)
run = linfa.solve(linfa.Full(net, rule), linfa.Task.teacher(3, 2, rng=2), linfa.Flow(t=5.0, saves=3))
assert linfa.laws.MatrixLaw().residual(run).max() < 1e-9
back = linfa.Trajectory.load(run.save("run.nc"))
assert back.dataset.identical(run.dataset)
print(linfa.__file__)
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-deps", "--quiet"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    here = importlib.util.find_spec("hatchling") is not None
    done = pip("wheel", ".", "--wheel-dir", str(folder), *(["--no-build-isolation"] if here else []))
    if done.returncode and not here:
        pytest.skip("the build backend hatchling is neither installed nor to be had")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_only_linfa_is_in_the_wheel(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"linfa"}
    assert {"linfa/__init__.py", "linfa/py.typed", "linfa/laws/ledger.py", "linfa/rules/backprop.py"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".ipynb")]


def test_every_module_of_the_checkout_is_in_the_wheel(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    assert packed == {p.relative_to(ROOT).as_posix() for p in (ROOT / "linfa").rglob("*.py")}


def test_the_wheel_works_where_there_is_no_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = pip("install", "--no-index", "--target", str(target), str(wheel))
    assert done.returncode == 0, done.stderr
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(target)}
    used = subprocess.run(
        [sys.executable, "-c", USE], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert used.returncode == 0, used.stderr
    assert Path(used.stdout.strip()).is_relative_to(target)
    assert used.stderr == ""
    assert not (target / "sims").exists()
