"""The repository holds together: generated files, pins, and the devices' rules."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest
from ablations.files import atomic_path, write_text

PROJECT = Path(__file__).parents[2]


def test_the_schema_is_that_of_the_model():
    script = runpy.run_path(str(PROJECT / "scripts/write_schema.py"))
    assert (PROJECT / "config/schema.json").read_text() == script["schema"](), "call `make schema`"


SHIPPED = [
    *(f"config/{name}.yaml" for name in ("config", "quickstart", "datasets")),
    *(f"examples/{name}/study.yaml" for name in ("sklearn", "pytorch", "lightning", "hydra", "awk")),
]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_configs_satisfy_the_schema(name):
    import jsonschema
    import yaml

    schema = json.loads((PROJECT / "config/schema.json").read_text())
    written = yaml.safe_load((PROJECT / name).read_text())
    # datasets.yaml is laid under a config, and has no studies of its own.
    jsonschema.validate({"studies": {}} | written, schema)


def test_the_schema_refuses_what_the_model_refuses():
    import jsonschema

    schema = json.loads((PROJECT / "config/schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"studies": {}, "devise": "cpu"}, schema)


def test_the_conda_environment_has_the_pins_of_the_lock():
    mirror = runpy.run_path(str(PROJECT / "envs/mirror.py"))
    assert (PROJECT / "envs/environment.yaml").read_text() == mirror["environment"](), "call `make lock`"


@pytest.mark.parametrize("name", ["requirements", "exports", "examples"])
def test_every_pin_of_a_lock_has_hashes(name):
    pins = re.split(r"\n(?=[a-z])", (PROJECT / f"envs/{name}.txt").read_text())
    assert len(pins) > 30
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_locks_agree():
    pins: dict[str, set[str]] = {}
    for name in ("requirements", "exports", "examples"):
        for package, version in re.findall(
            r"^([a-z0-9._-]+)==(\S+)", (PROJECT / f"envs/{name}.txt").read_text(), re.M
        ):
            pins.setdefault(package, set()).add(version)
    assert {package: versions for package, versions in pins.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("name", ["local", "slurm", "slurm-packed"])
def test_a_profile_repeats_no_key_of_the_default_one(name):
    """The default profile would override it, without a word."""
    import yaml

    keys = {
        profile: set(yaml.safe_load((PROJECT / f"profiles/{profile}/config.yaml").read_text()))
        for profile in ("default", name)
    }
    assert {"rerun-triggers", "keep-going", "quiet"} <= keys["default"]
    assert not keys["default"] & keys[name]


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    lock = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (PROJECT / "envs/requirements.txt").read_text(), re.M))
    for name in ("torch", "torchvision", "scikit-learn", "snakemake", "pandas", "pydantic"):
        assert version(name) == lock[name]


def test_a_rule_runs_the_script_of_its_name():
    text = "\n".join(path.read_text() for path in sorted((PROJECT / "rules").glob("*.smk")))
    rules = dict(re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)+)", text, re.M))
    ran = {rule: re.findall(r"(\w+)\.py", body) for rule, body in rules.items()}
    assert {rule: scripts for rule, scripts in ran.items() if scripts not in ([], [rule])} == {}
    assert sum(map(bool, ran.values())) == 12


def test_the_library_never_imports_snakemake():
    for path in (PROJECT / "scripts/ablations").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) snakemake", path.read_text(), re.M), path


def test_no_program_that_prints_other_bytes_than_text_ends_what_called_it():
    """A comment in SLURM's queue, or the name of a branch, is in whatever encoding its author used."""
    checked = 0
    for folder in ("scripts", "plugins/snakemake-executor-plugin-submitit/src"):
        for path in (PROJECT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                names = {word.arg for word in call.keywords} if isinstance(call, ast.Call) else set()
                if "text" in names and "subprocess" in ast.unparse(call.func):
                    assert "errors" in names, f"{path}:{call.lineno}"
                    checked += 1
    assert checked >= 6


def test_a_write_that_fails_keeps_what_was_there(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
