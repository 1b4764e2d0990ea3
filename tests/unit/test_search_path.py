"""Nothing is imported from the working directory, nor from beside a script there; users' commands may."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ablations.search_path import OURS, SAFE_PATH, SCRIPTS, import_safely, without_ours

CLEAN = {name: value for name, value in os.environ.items() if name not in (SAFE_PATH, "PYTHONPATH")}


def first_imports(environment: dict[str, str], command: str, cwd: Path) -> str:
    prefix = import_safely(environment).replace("{{", "{").replace("}}", "}")
    done = subprocess.run(
        ["bash", "-c", prefix + command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command", [f"{sys.executable} -m timeit -n 1 -r 1", f"{sys.executable} folder/one.py"]
)
@pytest.mark.parametrize("theirs", [{}, {"PYTHONPATH": "/nowhere"}, {SAFE_PATH: "1"}])
def test_planted_modules_are_not_imported_and_the_library_is(command, theirs, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/one.py").write_text("import timeit, pickle, ablations.errors")
    for place in (tmp_path, tmp_path / "folder"):
        for name in ("timeit", "pickle", "ablations"):
            (place / f"{name}.py").write_text("print('planted')")
    assert "planted" not in first_imports(CLEAN | theirs, command, tmp_path)


@pytest.mark.parametrize("theirs", [{}, {"PYTHONPATH": "/nowhere:/else"}, {SAFE_PATH: "1"}])
def test_the_command_of_a_user_has_the_environment_of_the_user(theirs, tmp_path):
    environment = CLEAN | theirs
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(first_imports(environment, f"{sys.executable} -c '{code}'", tmp_path))
    assert str(SCRIPTS) in seen["PYTHONPATH"]
    assert seen[SAFE_PATH] == theirs.get(SAFE_PATH, OURS)
    found = without_ours(seen)
    assert {name: found[name] for name in (SAFE_PATH, "PYTHONPATH") if name in found} == theirs
