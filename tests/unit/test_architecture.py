"""The house keeps its plan: imports point down, kinds are known in one place, and the page is true."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ablations.kinds import KINDS

PROJECT = Path(__file__).parents[2]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = load(PROJECT / "docs/list_modules.py")


@pytest.mark.parametrize("module", house.modules())
def test_a_module_imports_from_its_own_folder_and_those_below(module):
    for target in house.imports(house.modules()[module]):
        same = house.folder(target) == house.folder(module)
        assert same or house.row(target) < house.row(module), f"{module} imports {target}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: set(house.imports(path)) - {name} for name, path in house.modules().items()}
    while graph:
        free = [name for name, targets in graph.items() if not targets & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_the_page_lists_the_modules_as_they_are():
    written = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    assert written == house.page(), "call `python docs/list_modules.py`"


CODE = sorted(
    path
    for folder in ("scripts", "plugins", "benchmarks", "docs")
    for path in (PROJECT / folder).rglob("*.py")
    # Setuptools leaves a copy of the package in build/.
    if not {"tests", "build"} & set(path.relative_to(PROJECT).parts)
)


@pytest.mark.parametrize("package", ["scripts", "plugins"])
def test_no_two_classes_have_one_name(package):
    files: dict[str, list[str]] = {}
    for path in CODE:
        if path.is_relative_to(PROJECT / package):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    files.setdefault(node.name, []).append(path.relative_to(PROJECT).as_posix())
    assert files
    assert {name: places for name, places in files.items() if len(places) > 1} == {}


def outside(*folders: str) -> list:
    """The files of CODE that are in none of these folders, as the parameters of a test."""
    return [
        pytest.param(path, id=path.relative_to(PROJECT).as_posix())
        for path in CODE
        if not set(folders) & set(path.relative_to(PROJECT).parts)
    ]


@pytest.mark.parametrize("path", outside("kinds"))
def test_no_code_outside_kinds_knows_a_kind_by_name(path):
    for node in ast.walk(house.parsed(path)):
        assert not (isinstance(node, ast.Constant) and node.value in KINDS), f"line {node.lineno}"


@pytest.mark.parametrize("path", sorted((PROJECT / "rules").glob("*.smk")), ids=lambda path: path.name)
def test_a_rule_file_names_a_kind_only_to_look_it_up(path):
    text = re.sub(r'KINDS\["\w+"\]', "", path.read_text(encoding="utf-8"))
    assert not re.search(rf"""["']({"|".join(KINDS)})["']""", text)


@pytest.mark.parametrize("path", sorted((PROJECT / "rules").glob("*.smk")), ids=lambda path: path.name)
def test_a_shell_directive_is_one_command(path):
    # `exec` in the shell prefix would drop every command behind the first.
    for words in re.findall(r"shell:\n((?: +f?\".*\"\n)+)", path.read_text(encoding="utf-8")):
        command = "".join(re.findall(r'"(.*)"', words))
        assert not re.search(r";|&&|\|\||\||\n", command), command


@pytest.mark.parametrize("path", sorted((PROJECT / "rules").glob("*.smk")), ids=lambda path: path.name)
def test_the_command_of_a_rule_in_a_loop_has_nothing_of_the_loop(path):
    # Snakemake evaluates it once more when a job begins: it would have the values of the last turn.
    for loop in re.findall(r"^for (\w+) in .*\n((?:(?: {4}.*)?\n)+)", path.read_text(encoding="utf-8"), re.M):
        own = {loop[0], *re.findall(r"^    (\w+) = ", loop[1], re.M)}
        for words in re.findall(r"shell:\n((?: +f?\".*\"\n?)+)", loop[1]):
            used = re.findall(r"(?<!\{)\{(\w+)", "".join(re.findall(r'f"(.*)"', words)))
            assert not own & set(used), own & set(used)


def test_what_all_rules_share_is_short():
    assert len((PROJECT / "rules/common.smk").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_settings_of_snakemake_are_read_in_one_module():
    files = [PROJECT / "Snakefile", *(PROJECT / "rules").glob("*.smk"), *(PROJECT / "scripts").rglob("*.py")]
    read_in = {
        path.name for path in files if re.search(r"workflow\.\w+_settings", path.read_text(encoding="utf-8"))
    }
    assert read_in == {"snakemake_call.py"}


@pytest.mark.parametrize("path", outside("benchmarks"))
def test_modules_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    for node in ast.walk(house.parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_linter_of_snakemake_objects_to_helpers_beside_rules_alone():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "runs in all" in done.stderr, "the workflow was parsed"
    lints = set(re.findall(r"^    \* (.*)\.:$", done.stderr, re.M))
    assert lints <= {"Mixed rules and functions in same snakefile"}
