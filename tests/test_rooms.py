"""The rooms: who may import whom, that `import linfa` stays light, and that only linfa is for installing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("linfa", "theory", "sims", "figures")
STDLIB = frozenset(sys.stdlib_module_names)
EVERYWHERE = {"linfa": {"linfa", "numpy", "scipy", "array_api_compat", "jaxtyping", "tqdm"}}
LATER = {"xarray", "pooch", "sklearn"}
"""What linfa imports only where it is used: inside functions, or for annotations."""
MAY = {
    "theory": {"linfa", "theory", "numpy", "scipy", "sympy", "tqdm", "typer"},
    "sims": {"linfa", "sims", "numpy", "scipy", "xarray", "tqdm", "typer", "dask", "distributed", "torch"},
    "figures": {"linfa", "theory", "sims", "figures", "numpy", "scipy", "xarray", "matplotlib", "tqdm", "typer"},
}


def files(room):
    return [p for p in sorted((ROOT / room).rglob("*.py")) if "__pycache__" not in p.parts]


def imports(path):
    """Yield (package, whether it is loaded with the module) for every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = set()
    for node in ast.walk(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if lazy or typing:
            late |= set(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names = [node.module]
        else:
            continue
        for name in names:
            if name.split(".")[0] not in STDLIB:
                yield name.split(".")[0], node not in late


def allowed(path):
    """Return what a file of linfa may load with itself: its own subject's package in the two rooms that have one."""
    own = {"symbolic": {"sympy", "flint"}, "nn": {"torch"}}
    part = path.relative_to(ROOT / "linfa").parts[0]
    return EVERYWHERE["linfa"] | own.get(part, set())


@pytest.mark.parametrize("path", files("linfa"), ids=lambda p: str(p.relative_to(ROOT)))
def test_linfa_imports_what_the_table_allows(path):
    for package, at_once in imports(path):
        assert package in allowed(path) | (set() if at_once else LATER), f"{package} in {path.name}"


@pytest.mark.parametrize("room", sorted(MAY))
def test_a_room_imports_what_the_table_allows(room):
    for path in files(room):
        # A notebook is for looking at: it may draw.
        more = {"matplotlib"} if "notebooks" in path.parts else set()
        for package, at_once in imports(path):
            assert package in MAY[room] | more, f"{path.relative_to(ROOT)} imports {package}"
            assert not (package == "torch" and at_once), f"{path.relative_to(ROOT)} loads torch before it is needed"


def test_the_table_notices_a_forbidden_import(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import torch\ndef f():\n    import matplotlib.pyplot\n    from sims import x\n")
    assert list(imports(bad)) == [("torch", True), ("matplotlib", False), ("sims", False)]


def test_linfa_never_looks_into_the_rooms_and_the_witnesses_never_meet():
    everywhere = {room: {p for path in files(room) for p, _ in imports(path)} for room in ROOMS}
    assert not everywhere["linfa"] & {"theory", "sims", "figures", "tests", "matplotlib"}
    assert not everywhere["theory"] & {"sims", "figures"}
    assert not everywhere["sims"] & {"theory", "figures"}


HEAVY = ("torch", "sympy", "matplotlib", "xarray", "h5netcdf", "h5py", "pandas", "sklearn", "pooch", "dask", "flint")


def test_importing_linfa_loads_nothing_heavy():
    code = f"import sys, linfa; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_every_public_name_is_there():
    import linfa

    for module in (linfa, linfa.rules, linfa.laws, linfa.solvers, linfa.systems):
        assert len(module.__all__) == len(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)


def test_every_concrete_rule_law_and_solver_is_final():
    """Abstract or final: nobody inherits from a class that can be used."""
    import linfa

    for root in (linfa.rules.AbstractRule, linfa.laws.AbstractLaw, linfa.losses.AbstractLoss):
        pending = [root]
        while pending:
            cls = pending.pop()
            children = [c for c in cls.__subclasses__() if c.__module__.startswith("linfa.")]
            assert not children or cls.__name__.startswith("Abstract"), cls
            pending += children
