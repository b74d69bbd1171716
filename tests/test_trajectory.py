"""Results on disc and their origin: lossless, whole or not at all, refused when altered, hashed alike anywhere."""

import json
import os
import stat

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.provenance import array_digest, describe, digest
from linfa.trajectory import load_dataset, save_dataset
from tests.strategies import RULES, rule_of, task_of


def run_of(name="fa", dtype=np.float64, how=None):
    net = linfa.Weights.standard((4, 6, 5, 3), 0).map(lambda W: W.astype(dtype))
    rule = rule_of(name, net, 1)
    laws = [law() for law in linfa.laws.REGISTRY.values() if law().applies_to(rule)]
    how = how or linfa.Descent(0.05, 6, momentum=0.5, saves=3)
    return linfa.solve(linfa.Full(net, rule), task_of(4, 3), how, laws=laws)


@pytest.fixture
def saved(tmp_path):
    return run_of().save(tmp_path / "run.nc")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", RULES)
def test_a_run_comes_back_bit_for_bit_with_the_rule_it_was_made_by(name, dtype, tmp_path):
    run = run_of(name, dtype)
    back = linfa.Trajectory.load(run.save(tmp_path / "deep" / "run.nc"))
    assert back.dataset.identical(run.dataset)
    assert back.dataset.attrs == run.dataset.attrs
    for v, w in zip(run.dataset.variables.values(), back.dataset.variables.values(), strict=True):
        assert v.dtype == w.dtype
        assert v.values.tobytes() == w.values.tobytes()
    assert type(back.rule) is type(run.rule)
    assert digest(back.rule) == digest(run.rule)
    assert back.provenance == run.provenance
    if linfa.laws.NeuronLaw().applies_to(run.rule):
        assert np.array_equal(linfa.laws.NeuronLaw().drift(back), linfa.laws.NeuronLaw().drift(run))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run.nc"]


def test_a_run_says_how_it_was_made():
    about = run_of().provenance
    assert about["linfa"] == linfa.__version__
    assert about["solver"] == describe(linfa.Descent(0.05, 6, momentum=0.5, saves=3))
    assert about["system"]["weights"]["origin"] == {"initialiser": "standard", "seed": 0, "scale": 1.0}
    assert about["system"]["rule"]["type"] == "FeedbackAlignment"
    assert about["task"]["inputs"]["sha256"] == array_digest(task_of(4, 3).inputs)
    assert json.loads(json.dumps(about)) == about


def refused(path, match):
    """Assert that a file is refused in one sentence that names it, and is left as it was with nothing beside it."""
    before, names = path.read_bytes(), sorted(p.name for p in path.parent.iterdir())
    with pytest.raises(linfa.ResultError, match=match) as caught:
        linfa.Trajectory.load(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == names


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(saved, part):
    saved.write_bytes(saved.read_bytes()[: int(part * saved.stat().st_size)])
    refused(saved, "not a complete netCDF result .*: delete it and make it again")


def test_a_file_with_one_altered_number_is_refused(saved):
    content, needle = bytearray(saved.read_bytes()), linfa.Trajectory.load(saved).dataset["W_2"].values[1].tobytes()
    at = bytes(content).find(needle)
    assert at > 0
    content[at] ^= 1
    saved.write_bytes(content)
    refused(saved, "digest differs.*: delete it and make it again")


# h5netcdf's destructor stumbles over files that it could not open; nothing of ours is involved.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(where=st.integers(0, 10**6))
def test_no_altered_byte_changes_a_number_unseen(where, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "altered"
    path = folder / "run.nc"
    if not path.exists():
        run_of(how=linfa.Descent(0.05, 1)).save(path)
        (folder / "sound").write_bytes(path.read_bytes())
    content = bytearray((folder / "sound").read_bytes())
    content[where % len(content)] ^= 0x55
    path.write_bytes(content)
    (folder / "whole.nc").write_bytes((folder / "sound").read_bytes())
    try:
        back = linfa.Trajectory.load(path)
    except linfa.ResultError:
        return
    # Bytes that hold no content (padding, timestamps) may differ; then nothing that was read does.
    assert back.dataset.identical(linfa.Trajectory.load(folder / "whole.nc").dataset)


def test_a_foreign_netcdf_is_refused(tmp_path):
    path = tmp_path / "foreign.nc"
    xr.Dataset({"a": ("x", np.arange(3.0))}).to_netcdf(path, engine="h5netcdf")
    refused(path, "digest differs")


def test_a_result_that_is_no_run_is_refused_as_a_run_and_loads_as_a_result(tmp_path):
    table = xr.Dataset({"a": ("x", np.arange(3.0))}, attrs={"note": "mine"})
    path = save_dataset(table, tmp_path / "table.nc")
    assert load_dataset(path).identical(table)
    refused(path, "holds a labelled result, but not a run")


def test_text_is_no_result(tmp_path):
    (tmp_path / "notes.nc").write_text("no netCDF")
    refused(tmp_path / "notes.nc", "not a complete netCDF result")


def test_an_absent_file_says_so(tmp_path):
    with pytest.raises(linfa.ResultError, match=r"there is no result at .*: check the path, or make it again"):
        linfa.Trajectory.load(tmp_path / "none.nc")


def test_a_run_of_a_rule_that_is_not_known_here_is_whole_but_its_laws_ask_for_the_rule(tmp_path):
    class Mine(linfa.Backprop):
        pass

    net = linfa.Weights.standard((4, 5, 3), 0)
    run = linfa.solve(linfa.Full(net, Mine()), task_of(4, 3), linfa.Descent(0.1, 1))
    back = linfa.Trajectory.load(run.save(tmp_path / "mine.nc"))
    assert back.dataset.identical(run.dataset)
    with pytest.raises(linfa.ResultError, match=r"rule 'Mine' .* make the rule again and give it to the law"):
        linfa.laws.MatrixLaw().drift(back)
    again = linfa.laws.MatrixLaw().drift(back, rule=linfa.Backprop())
    assert np.array_equal(again, linfa.laws.MatrixLaw().drift(run))


def test_a_failed_write_leaves_the_old_result_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def full(self, path, **_):
        with open(path, "wb") as half:
            half.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="no space left"):
        run_of().save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["run.nc"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_result_may_be_read_by_whom_any_new_file_may_be(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").touch()
        path = save_dataset(xr.Dataset({"a": ("x", np.arange(3.0))}), tmp_path / "table.nc")
        save_dataset(load_dataset(path), path)  # in the place of an older one too
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


# Provenance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "i4", "u2"])
def test_digests_do_not_depend_on_the_byte_order_or_layout_of_a_machine(kind):
    values = np.arange(12).reshape(3, 4)
    little, big = values.astype("<" + kind), values.astype(">" + kind)
    assert array_digest(little) == array_digest(big) == array_digest(np.asfortranarray(little))
    assert array_digest(little) == array_digest(np.stack([little, little], -1)[..., 0])
    assert array_digest(little) != array_digest(little.T)
    assert array_digest(little) != array_digest(little.reshape(4, 3))
    assert array_digest(little) != array_digest(little + 1)


def test_digests_are_the_same_on_every_machine_for_ever():
    # SHA-256 of b"<f8[3]" and three little-endian doubles; of the JSON text with sorted keys and no spaces.
    assert array_digest(np.arange(3.0)) == "0a2cb63696efd466c6ddb51806a250781c4beab9713f1f177477afa4ca2ef69b"
    known = "3d9f3cd90d859c7586e84eb01393ca6426d4d03a6cdf1f268ed7327c2bd24183"
    assert digest({"rate": 0.1, "widths": (2, 3), "solver": linfa.Constant(0.5)}) == known


def test_a_digest_sees_every_field_and_not_their_order():
    a = linfa.Descent(0.1, 10)
    assert digest(a) == digest(linfa.Descent(steps=10, learning_rate=0.1))
    others = [linfa.Descent(0.1, 11), linfa.Descent(0.1, 10, seed=1), linfa.Descent(linfa.Constant(0.1), 10)]
    assert len({digest(x) for x in (a, *others)}) == 4
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1}) != digest({"x": 2, "y": 1})


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(linfa.InputError, match="so that it can be recorded; got function"):
        describe(lambda: None)
