"""The notebooks: text-first, kept without output, lessons in six parts, and every fact in them asserted and run."""

import ast
import re
import sys
import time
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "theory" / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
PARTS = ["Question", "Statement", "Derivation", "Experiment", "Picture", "Exercise"]
MOST_SECONDS = 60

each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def read(source):
    return jupytext.read(source)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def text(notebook):
    return "\n".join(cell.source for cell in cells(notebook, "markdown"))


def asserts(notebook):
    return sum(isinstance(node, ast.Assert) for c in cells(notebook, "code") for node in ast.walk(ast.parse(c.source)))


def execute(notebook):
    """Run a notebook in a kernel of this interpreter, in the root of the checkout; an error in a cell is raised."""
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    resources = {"metadata": {"path": str(ROOT)}}
    return nbclient.NotebookClient(notebook, timeout=MOST_SECONDS, resources=resources).execute()


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Kernels of this interpreter, with no settings but these, that leave nothing behind."""
    from jupyter_client.kernelspec import KernelSpecManager

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which puts figures into the notebook
    assert KernelSpecManager().get_kernel_spec("python3").resource_dir
    assert Path(sys.executable).is_file()


def test_the_two_notebooks_of_the_plan_are_there():
    assert {source.stem for source in SOURCES} >= {"ten_minute_tour", "law_of_your_own"}
    assert not list(FOLDER.rglob("*.ipynb")), "sources are text; an .ipynb keeps output"


@each
def test_a_source_is_plain_percent_text_without_output(source):
    raw = source.read_text(encoding="utf-8")
    assert "# %% [markdown]" in raw
    assert "format_name: percent" in raw
    assert not re.search(r"/(home|Users|tmp|work|root)/", raw), "a path of one machine"
    notebook = read(source)
    for cell in cells(notebook, "code"):
        assert not cell.outputs
        assert cell.execution_count is None


@each
def test_a_notebook_reads_back_as_it_is_written(source):
    notebook = read(source)
    again = jupytext.reads(jupytext.writes(notebook, "py:percent"), "py:percent")
    assert [c.source for c in again.cells] == [c.source for c in notebook.cells]


@each
def test_a_notebook_is_a_lesson_in_six_parts(source):
    notebook = read(source)
    heads = re.findall(r"^## (.+)$", text(notebook), re.MULTILINE)
    assert heads == PARTS
    assert re.match(r"# \S", notebook.cells[0].source), "it begins with its title"
    assert "**Figure.**" in text(notebook), "the picture has a caption"
    assert "<details><summary>Answer</summary>" in text(notebook), "the answer is there, and hidden"
    assert "$$" in text(notebook)
    assert asserts(notebook) >= 8, "what the lesson says is asserted in its cells"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@each
def test_a_notebook_runs_in_under_a_minute_and_draws_its_picture(source, kernels):
    began = time.perf_counter()
    notebook = execute(read(source))
    assert time.perf_counter() - began < MOST_SECONDS
    outputs = [output for cell in cells(notebook, "code") for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    stray = [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not stray, "warnings and errors are no part of a lesson"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_untrue_fact_is_noticed(kernels):
    from nbclient.exceptions import CellExecutionError

    false = jupytext.reads("# %%\nassert 1 + 1 == 3", "py:percent")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        execute(false)
