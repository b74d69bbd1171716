"""Every example in a docstring is run, module by module, and shows what it says."""

import ast
import doctest
import importlib
import importlib.util
import linecache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = {"linfa.nn": "torch", "linfa.data.embedded": "sklearn", "linfa.data": "sklearn"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(p): p for p in sorted((ROOT / "linfa").rglob("*.py"))}


def examples(path, globs):
    """Yield the examples of every docstring of a file; read from its source, so that no decorator hides one."""
    source = path.read_text(encoding="utf-8")
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text and ">>>" in text:
            name = f"{module_name(path)}.{getattr(node, 'name', '')}"
            yield doctest.DocTestParser().get_doctest(text, dict(globs), name, str(path), getattr(node, "lineno", 1))


def has_examples(path):
    return ">>>" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if has_examples(path)])
def test_the_examples_of_a_module_hold(name):
    for module, package in OPTIONAL.items():
        if name.startswith(module) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    linecache.clearcache()
    module = importlib.import_module(name)
    runner, report = doctest.DocTestRunner(verbose=False), []
    for test in examples(MODULES[name], vars(module)):
        runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)


def test_most_modules_show_an_example():
    assert sum(map(has_examples, MODULES.values())) > 0.6 * len(MODULES)
