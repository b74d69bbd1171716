"""Records: shown without computing, matched by what a cell says, refused whenever they do not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("typer")
pytest.importorskip("matplotlib")
from typer.testing import CliRunner

import linfa
from figures import gallery, style
from figures.figure import Figure
from figures.gallery import Sources
from linfa.errors import InputError, ResultError
from linfa.trajectory import content_digest
from sims import made, recorded
from sims.__main__ import app as sims_app
from sims.made import Made, device, told
from sims.registry import STUDIES
from sims.study import Result, Study, collect


@dataclass(frozen=True)
class Cell:
    """A computation that takes no time."""

    rate: float
    seed: int = 0


def compute(cell: Cell) -> xr.Dataset:
    return xr.Dataset({"loss": ("step", cell.rate * np.arange(3.0))}, attrs={"seed": cell.seed})


def cells(fast: bool) -> tuple[Cell, ...]:
    return (Cell(1.0),) if fast else (Cell(0.1), Cell(0.2, seed=5))


TOY = Study("toy", "Nobody 1900", "It is quick.", cells, compute, recorded=1)


class InProcess(Executor):
    """Computes at once, and counts."""

    count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def fresh(study: Study, cache, fast: bool = False) -> list[Result]:
    return collect(study, fast, cache=cache, executor=InProcess(), progress=False)


@pytest.fixture
def home(tmp_path):
    """The records of TOY."""
    recorded.record(TOY, fresh(TOY, tmp_path / "cache"), tmp_path)
    return tmp_path


def test_a_record_is_what_was_computed_with_where_and_when(home):
    computed, shown = fresh(TOY, home / "cache"), recorded.recorded(TOY, home)
    assert [r.cell for r in shown] == list(cells(False))
    for one, other in zip(computed, shown, strict=True):
        assert one.data.identical(other.data)
        assert content_digest(one.data) == content_digest(other.data)
        assert one.made == other.made
        assert other.made.linfa == linfa.__version__
        assert other.made.device == "cpu"
        assert other.made.machine
        assert other.made.seconds >= 0


def test_there_is_no_record_of_a_study_that_keeps_none_or_has_none_yet(home, tmp_path):
    assert recorded.recorded(TOY, tmp_path / "elsewhere") is None
    assert recorded.recorded(replace(TOY, recorded=0), home) is None
    assert len(recorded.on_record(TOY, home)) == len(cells(False))
    with pytest.raises(ResultError, match="of toy there is no record: make it with python -m sims toy --full --record"):
        recorded.on_record(TOY, tmp_path / "elsewhere")
    with pytest.raises(InputError, match="the study toy keeps no record"):
        recorded.record(replace(TOY, recorded=0), fresh(TOY, home / "cache"), home)


def test_what_was_computed_by_hand_is_not_recorded(home):
    with pytest.raises(InputError, match="where and when it was made"):
        recorded.record(TOY, [Result(cell, compute(cell)) for cell in cells(False)], home)


def test_another_configuration_is_refused_by_what_differs(home):
    changed = replace(TOY, cells=lambda fast: (Cell(0.1), Cell(0.3, seed=5)))
    with pytest.raises(ResultError, match=r"another configuration: rate was 0.2, is 0.3; make it again with.*--record"):
        recorded.recorded(changed, home)


def test_a_field_that_came_or_went_is_another_configuration(home):
    @dataclass(frozen=True)
    class Wider:
        rate: float
        seed: int = 0
        decay: float = 0.0

    Wider.__name__ = "Cell"
    with pytest.raises(ResultError, match=r"decay was absent, is 0.0"):
        recorded.recorded(replace(TOY, cells=lambda fast: (Wider(0.1), Wider(0.2, 5))), home)


def test_the_order_of_cells_is_no_matter_but_each_must_be_there(home):
    turned = recorded.recorded(replace(TOY, cells=lambda fast: cells(fast)[::-1]), home)
    assert [r.data.attrs["seed"] for r in turned] == [5, 0]
    with pytest.raises(ResultError, match="lacks 1 of 3 cells"):
        recorded.recorded(replace(TOY, cells=lambda fast: (*cells(False), Cell(0.7))), home)


def test_another_version_of_what_the_results_hold_is_refused(home):
    with pytest.raises(ResultError, match="holds version 1 of the results, the study has version 2"):
        recorded.recorded(replace(TOY, recorded=2), home)


def test_every_single_flipped_byte_of_the_data_is_seen(home):
    """Whichever bit of a number is turned over, what is shown is refused."""
    path = sorted((home / "toy").glob("*.nc"))[0]
    whole = path.read_bytes()
    first = xr.load_dataset(path, engine="h5netcdf")["loss"].values
    at = whole.index(first.tobytes())
    for k in range(first.nbytes):
        path.write_bytes(whole[: at + k] + bytes([whole[at + k] ^ 1]) + whole[at + k + 1 :])
        with pytest.raises(ResultError, match=r"is damaged .*digest differs"):
            recorded.recorded(TOY, home)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ResultError, match="is damaged"):
        recorded.recorded(TOY, home)


def test_a_new_record_takes_the_place_of_the_old_one(home):
    changed = replace(TOY, cells=lambda fast: (Cell(0.1), Cell(0.3, seed=5)))
    recorded.record(changed, fresh(changed, home / "cache"), home)
    assert len(list((home / "toy").glob("*.nc"))) == 2
    assert [r.cell.rate for r in recorded.recorded(changed, home)] == [0.1, 0.3]


def test_a_result_that_is_no_record_is_refused(home):
    linfa.trajectory.save_dataset(compute(Cell(0.1)), home / "toy" / "stray.nc")
    with pytest.raises(ResultError, match="says nothing of its cell, holds, made"):
        recorded.recorded(TOY, home)


def test_the_full_figure_shows_the_record_and_rerun_computes(home, monkeypatch):
    monkeypatch.setattr(recorded, "FOLDER", home)
    asked = {}
    for name, sources in {
        "full": Sources(False, cache=home / "no", rerun=False),
        "rerun": Sources(False, cache=home / "cache", rerun=True),
        "fast": Sources(True, cache=home / "cache"),
    }.items():
        fresh(TOY, home / "cache", fast=name == "fast")  # kept, so that no worker is started
        assert [r.cell for r in sources(TOY)] == list(cells(name == "fast"))
        asked[name] = sources.asked[0]["recorded"]
    assert asked == {"full": True, "rerun": False, "fast": False}
    assert not (home / "no").exists()
    shutil.rmtree(home / "toy")
    again = Sources(False, cache=home / "cache")
    again(TOY)
    assert again.asked[0]["recorded"] is False


def test_what_was_made_elsewhere_is_told():
    a = Made("0.1.0", "2025-01-02", "cuda", "a card", 3000.0)
    assert told([a, replace(a, linfa="0.2.0")]) == "2025-01-02 on a card by linfa 0.1.0, 0.2.0, 100 min of computing"


def test_an_unknown_device_is_refused(monkeypatch):
    monkeypatch.setenv(made.VARIABLE, "tpu")
    with pytest.raises(InputError, match="on cpu or on cuda; got tpu"):
        made.asked_for()


def test_training_takes_the_device_that_was_asked_for(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv(made.VARIABLE, "cpu")
    assert device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(made.VARIABLE)
    assert device() == torch.device("cpu")
    monkeypatch.setenv(made.VARIABLE, "cuda")
    with pytest.raises(InputError, match="torch sees no card here"):
        device()


def test_a_result_of_another_device_than_asked_for_is_computed_again(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    trains = replace(TOY, trains=True)
    monkeypatch.setenv(made.VARIABLE, "cpu")
    fresh(trains, tmp_path)
    counts = {}
    for wanted in ("cpu", "", "cuda"):
        monkeypatch.setenv(made.VARIABLE, wanted)
        pool = InProcess()
        monkeypatch.setattr("sims.study.here", lambda trains, seconds: Made("0", "2025-01-01", "cuda", "a card", 0.0))
        collect(trains, False, cache=tmp_path, executor=pool, progress=False)
        counts[wanted] = pool.count
    assert counts == {"cpu": 0, "": 0, "cuda": 2}


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.recorded])
def test_the_repositorys_records_fit_the_code_and_are_small(name):
    results = recorded.recorded(STUDIES[name])
    if results is None:
        pytest.skip(f"nothing of {name} has been recorded yet")
    assert [r.cell for r in results] == list(STUDIES[name].cells(False))
    size = sum(path.stat().st_size for path in (recorded.FOLDER / name).glob("*.nc"))
    assert size < 64 * 1024 * len(results)


# ----------------------------------------------------------------------------------------------------- the command line


def invoke(*arguments: str):
    return CliRunner().invoke(sims_app, list(arguments))


def test_recording_on_the_command_line(home, monkeypatch):
    shutil.rmtree(home / "toy")
    monkeypatch.setattr(recorded, "FOLDER", home)
    monkeypatch.setenv("LINFA_CACHE", str(home / "cache"))
    monkeypatch.setitem(STUDIES, "toy", TOY)
    done = invoke("toy", "--full", "--record")
    assert done.exit_code == 0, done.stderr
    assert "toy: recorded, " in done.stdout
    assert [r.cell for r in recorded.recorded(TOY)] == list(cells(False))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("conservation", "--fast", "--record"), "the full preset is what is recorded"),
        (("conservation", "--full", "--record"), "of conservation no record is kept"),
        (("conservation", "--device", "tpu"), "on cpu or on cuda; got tpu"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, said, monkeypatch):
    monkeypatch.setenv(made.VARIABLE, "")
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_captions_and_the_page_say_where_and_when(home, monkeypatch):
    def line(fast, collect):
        sheet = style.sheet(style.COLUMN, 2)
        sheet.add_subplot().plot(collect(TOY)[0].data["loss"])
        return sheet, "A line."

    monkeypatch.setattr(recorded, "FOLDER", home)
    figure = Figure("line", "A line", "Nobody 1900", "It rises.", "A line.", line)
    gallery.make(figure, home / "gallery", Sources(False))
    caption = (home / "gallery" / "line.txt").read_text(encoding="utf-8")
    (first, _) = recorded.recorded(TOY)
    said = f"recorded {first.made.date} on {first.made.machine} by linfa {linfa.__version__}"
    assert f"Data of the study toy: {said}" in caption
    page = gallery.write_page(home / "gallery", ["line"]).read_text(encoding="utf-8")
    assert page.count(escape(said)) == 2


def test_the_list_of_studies_loads_no_torch():
    code = "import sys, sims.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=recorded.FOLDER.parent.parent, check=False).returncode == 0
