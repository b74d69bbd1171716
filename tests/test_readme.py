"""The README tells the truth: its Python blocks run, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python"))
    assert source.count("assert") >= 4
    exec(compile(source, "README.md", "exec"), {})


def test_the_two_commands_are_the_promised_ones():
    assert [block.strip() for block in blocks("sh")] == [
        'python -m pip install -e ".[all]" && python -m figures --fast',
        'python -m pip install -e ".[all,test]" && python -m pytest',
    ]


def test_every_name_in_backticks_that_looks_like_an_attribute_exists():
    import linfa

    for owner, name in re.findall(r"`(Weights|Task|dominated)\.(\w+)`", README):
        assert hasattr(getattr(linfa, owner), name), f"{owner}.{name}"


def test_every_room_that_the_readme_names_can_be_run():
    for room in re.findall(r"python -m ([\w.]+)", README):
        if room not in {"pip", "pytest"}:
            assert (ROOT / room.replace(".", "/") / "__main__.py").is_file(), room
