"""The config's own kinds: what they become, and what is refused before any job."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from ablations.analysis.effects import effects
from ablations.config.hints import hints
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.kinds.command import split_template
from ablations.tracking.overview import overview
from ablations.tracking.plan import Costs

PROJECT = Path(__file__).parents[2]
KIND = {
    "command": "python train.py --data {dataset} --depth {depth} --lr {lr} --seed {seed} --metrics {metrics}",
    "hyperparameters": {"depth": "int", "lr": {"type": "float", "above": 0}},
    "metrics": {"psnr": {"label": "PSNR", "unit": "dB", "better": "higher"}},
}
STUDY = {
    "title": "How deep",
    "kind": "denoiser",
    "grid": [{"dataset": "faces", "depth": [4, 8], "lr": ["1e-3", 0.01]}],
    "seeds": [0, 1],
    "table": {"rows": ["depth"], "columns": "lr"},
}


def load(kind: dict[str, Any] | None = None, study: dict[str, Any] | None = None):
    written = {"kinds": {"denoiser": {**KIND, **(kind or {})}}, "studies": {"s": {**STUDY, **(study or {})}}}
    return load_config([PROJECT / "config/datasets.yaml"], written, PROJECT)


def problems(kind: dict[str, Any], study: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load(kind, study)
    return str(error.value)


def records(config) -> list[str]:
    return [run.record.removeprefix("results/runs/denoiser/") for run in config.runs()]


def test_a_run_of_an_own_kind_has_a_canonical_path():
    assert records(load())[:2] == [
        "faces/none/depth=4+lr=0.001+seed=0/record.tsv",
        "faces/none/depth=4+lr=0.001+seed=1/record.tsv",
    ]


def test_a_hyperparameter_added_with_a_default_renames_nothing():
    command = KIND["command"] + " --act {activation}"
    added = {
        "command": command,
        "hyperparameters": {
            **KIND["hyperparameters"],
            "activation": {"choices": ["relu", "gelu"], "default": "relu"},
        },
    }
    assert records(load(added)) == records(load())
    grid = [{"dataset": "faces", "depth": 4, "lr": 0.01, "activation": ["relu", "gelu"]}]
    both = records(load(added, {"grid": grid, "seeds": 0, "table": {"rows": ["activation"]}}))
    assert both == [
        "faces/none/depth=4+lr=0.01+seed=0/record.tsv",
        "faces/none/depth=4+lr=0.01+activation=gelu+seed=0/record.tsv",
    ]


def test_a_command_receives_every_value_as_one_word():
    files = {"faces": "data/all faces.npz"}
    config = load({"datasets": files, "command": "train {dataset} {hyperparameters} -- {overrides} {seed}"})
    run = next(iter(config.runs()))
    command = run.kind.command_of(run.values(), {"seed": 0})
    assert shlex.split(command) == [
        "train", "data/all faces.npz", "--depth", "4", "--lr", "0.001", "--", "depth=4", "lr=0.001", "0",
    ]  # fmt: skip


def test_two_braces_are_one():
    config = load({"command": "awk -v d={depth} -v lr={lr} 'BEGIN {{print d}}' {dataset}"})
    run = next(iter(config.runs()))
    assert run.kind.command_of(run.values(), {}) == "awk -v d=4 -v lr=0.001 'BEGIN {print d}' faces"


@pytest.mark.parametrize(
    "text", ["$(rm -rf /)", "a b", "a;b", "'a'", '"', "a\nb", "../a", "-a", "a/b", "`a`"]
)
def test_text_that_a_shell_or_a_path_would_read_is_refused(text):
    kind = {"hyperparameters": {**KIND["hyperparameters"], "act": "str"}, "command": "x {hyperparameters}"}
    grid = [{"depth": 4, "lr": 0.01, "act": text}]
    said = problems(kind, {"grid": grid, "table": {"rows": ["act"]}})
    assert "grid[0].act" in said
    assert "becomes a part of a path" in said


def test_a_single_dataset_needs_no_list():
    assert records(load({"datasets": "faces"})) == records(load())
    assert "there is no dataset 'faces'" in problems({"datasets": "set12"})


def hyperparameter(**section: Any) -> dict[str, Any]:
    return {"hyperparameters": {**KIND["hyperparameters"], "act": section}, "command": "x {hyperparameters}"}


def metric(**section: Any) -> dict[str, Any]:
    return {"metrics": {"psnr": section}}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"comand": "x"}, "kinds.denoiser.comand: unknown key 'comand'; did you mean 'command'?"),
    ({"command": KIND["command"] + " {optimiser}"}, "kinds.denoiser.command: {optimiser} is unknown"),
    ({"command": KIND["command"].replace("{metrics}", "{metric}")}, "did you mean 'metrics'?"),
    (
        {"command": "train --depth {depth}"},
        "the hyperparameter lr is not used; add {lr} or {hyperparameters}",
    ),
    ({"command": "awk '{print}' {hyperparameters}"}, "{print} is in quotes"),
    ({"command": "x {} {hyperparameters}"}, "{} is not a placeholder; write other braces twice"),
    ({"command": "x {lr:.3f} {depth}"}, "{lr} is not a placeholder"),
    ({"command": "x } {hyperparameters}"}, "Single '}' encountered"),
    ({"command": 'x "{dataset}" {hyperparameters}'}, "{dataset} is in quotes; leave them out"),
    ({"command": "  "}, "kinds.denoiser.command: it holds '  '; it is empty"),
    ({"command": "x \x1b[2J {hyperparameters}"}, "it is empty, or has control characters"),
    ({"random": False}, "it uses {seed}, and with `random: false` there is none"),
    ({"datasets": ["faces"], "command": "x {hyperparameters}"}, "it does not use {dataset}, and datasets"),
    ({"metrics": {}}, "kinds.denoiser.metrics: it holds a mapping"),
    ({"metrics": {"lr": None}}, "kinds.denoiser.metrics.lr: a hyperparameter has the same name"),
    ({"metrics": {"status": None}}, "kinds.denoiser.metrics.status: this name is reserved"),
    (
        {"metrics": {"counted_energy_j": None}},
        "kinds.denoiser.metrics.counted_energy_j: this name is reserved",
    ),
    (
        {"hyperparameters": {"energy_counters": "int"}},
        "hyperparameters.energy_counters: this name is reserved",
    ),
    ({"metrics": {"run_time_ms": None}}, "kinds.denoiser.metrics.run_time_ms: this name is reserved"),
    ({"hyperparameters": {"seed": "int"}}, "kinds.denoiser.hyperparameters.seed: this name is reserved"),
    (
        {"hyperparameters": {"depth": "integer"}},
        "hyperparameters.depth: it holds 'integer'; it may hold 'int'",
    ),
    (hyperparameter(), "hyperparameters.act: its type is missing; it is int, float, bool or str"),
    (hyperparameter(choices=["a", 1]), "hyperparameters.act: its type is missing"),
    (hyperparameter(type="str", min=1), "hyperparameters.act.min: a str has no bounds"),
    (hyperparameter(type="int", min=5, max=2), "hyperparameters.act: no value is within its bounds"),
    (hyperparameter(type="int", min=5, default=2), "act.default: 2 is not a valid int within its bounds"),
    (hyperparameter(choices=["a", "b"], default="c"), "act.default: 'c' is not a valid str one of a, b"),
    (hyperparameter(type="int", choices=[1, "b"]), "act.choices: 'b' is not a valid int"),
    (hyperparameter(choices=["a", "b c"]), "act.choices: 'b c' is not a valid str"),
    (metric(better="larger"), "metrics.psnr.better: it holds 'larger'; it may hold 'higher' or 'lower'"),
    (metric(noise="proportion"), "metrics.psnr.count: a proportion needs it, and no other metric has it"),
    (metric(noise="time", count=10), "metrics.psnr.count: a proportion needs it, and no other metric has it"),
    (
        metric(file="../out.json"),
        "metrics.psnr.file: it holds '../out.json'; it names files of the run's own",
    ),
    ({"keep": "/etc/passwd"}, "kinds.denoiser.keep: it holds '/etc/passwd'; it names files"),
    ({"inputs": "data/$HOME"}, "kinds.denoiser.inputs: it holds 'data/$HOME'; a path here holds no"),
    ({"items": "ssim"}, "kinds.denoiser.items: 'ssim' is not a metric of this kind"),
    ({"command": KIND["command"] + " {items}"}, "it uses {items}; name the metric that they belong to"),
    ({"history": "h.tsv", "command": KIND["command"] + " {history}"}, "`history` names another file"),
    ({"repeats": "epochs"}, "kinds.denoiser.repeats: 'epochs' is not a hyperparameter of type int"),
    ({"threads": 0}, "kinds.denoiser.threads: it holds 0; it may hold a number of at least 1"),
    ({"command": None, "setup": "module load cuda"}, "kinds.denoiser.setup: it belongs to a command"),
    ({"code": "no/such.py"}, "kinds.denoiser.code: there is no '/"),
    (hyperparameter(type="int", label="Model"), "hyperparameters.act.label: model has the label 'Model' too"),
    (hyperparameter(type="int", label="depth"), "hyperparameters.act.label: depth has the label 'depth' too"),
    (
        {"metrics": {"a": {"unit": "s"}, "b": {"label": "a", "unit": "s"}}},
        "b.label: a has the label 'a (s)' too",
    ),
    ({"keep": "."}, "kinds.denoiser.keep: '.' is not a pattern of file names"),
    ({"keep": "a**b"}, "kinds.denoiser.keep: 'a**b' is not a pattern of file names"),
    ({"metrics": {"acc": None, "acc_sd": None}}, "metrics.acc_sd: a table has a column of this name for acc"),
    ({"metrics": {"model_dump": None}}, "kinds.denoiser.metrics.model_dump: this name is reserved"),
    (hyperparameter(type="int", min=0.5), "act.min: it holds 0.5, which is not a bound of a int"),
    (
        hyperparameter(type="float", max=float("inf")),
        "act.max: it holds inf, which is not a bound of a float",
    ),
    ({"hyperparameters": {"canonical": "int"}}, "hyperparameters.canonical: this name is reserved"),
    (
        {"random": False, "command": "x {depth}", "hyperparameters": {"depth": {"default": 3}}},
        "kinds.denoiser.hyperparameters: at least one has no default",
    ),
    ({"models": {"small": "a;b"}}, "kinds.denoiser.models.small: it holds 'a;b'"),
]


@pytest.mark.parametrize(("kind", "sentence"), WRONG, ids=[sentence[:50] for _, sentence in WRONG])
def test_a_wrong_section_is_refused_in_a_sentence(kind, sentence):
    assert sentence in problems(kind)


@pytest.mark.parametrize(
    ("kind", "study", "sentence"),
    [
        ({}, {"kind": "denoisr"}, "studies.s.kind: it holds 'denoisr'"),
        (
            {},
            {"table": {"rows": ["depth"], "values": "pnsr"}},
            "'pnsr' is not a metric of denoiser runs; did",
        ),
        ({}, {"analyse": "ssim"}, "studies.s.analyse: 'ssim' is not a metric of denoiser runs"),
        ({}, {"grid": [{"dataset": "faces", "depth": 4}]}, "lr is missing; every denoiser run needs"),
        (
            {},
            {"grid": [{"dataset": "faces", "depth": 4, "lr": 0}]},
            "grid[0].lr: it holds 0; it may hold a numb",
        ),
        (
            {"datasets": ["cats"]},
            {},
            "studies.s.grid[0].dataset: there is no dataset 'faces' (there are cats)",
        ),
        (hyperparameter(type="int", choices=[1, 2]), {"grid": [{"depth": 1, "lr": 1, "act": 3}]}, "1 or 2"),
    ],
    ids=range(7),
)
def test_a_study_is_checked_against_its_own_kind(kind, study, sentence):
    assert sentence in problems(kind, study)


@pytest.mark.parametrize("name", ["cnn", "Denoiser", "a b", "1a", "a-b"])
def test_a_name_that_is_taken_or_not_a_name_is_refused(name):
    with pytest.raises(ConfigError, match="kinds"):
        load_config([], {"kinds": {name: KIND}, "studies": {}}, PROJECT)


def test_quotes_are_followed_as_a_shell_does():
    assert [name for _, name in split_template(r"""a "b 'c' \" d" {x} 'e " \' {y} \' {z}""")] == [
        "x", "y", "z",
    ]  # fmt: skip


def test_numbers_in_exponents_are_numbers_without_a_type_too():
    rates = {"choices": ["1e-3", "1e-4"], "default": "1e-4"}
    kind = {"command": "x {hyperparameters} {seed}", "hyperparameters": {"rate": rates, "depth": "int"}}
    grid = [{"depth": 4, "rate": [0.001, "1e-4"]}]
    config = load(kind, {"grid": grid, "seeds": 0, "table": {"rows": ["rate"]}})
    assert [run.value("rate") for run in config.runs()] == [0.001, 0.0001]


def test_a_directory_that_no_file_system_allows_is_refused():
    names = {f"a_hyperparameter_of_a_very_long_name_{i}": "int" for i in range(8)}
    kind = {"command": "x {hyperparameters} {seed}", "hyperparameters": names}
    said = problems(kind, {"grid": [dict.fromkeys(names, 1)], "table": {"rows": list(names)}})
    assert "a file system allows 255" in said


def test_an_apostrophe_in_a_comment_is_no_quote():
    command = "# don't train twice\npython train.py {dataset} {hyperparameters} {seed}"
    assert records(load({"command": command})) == records(load())


def test_a_call_says_where_a_seed_may_be_unused():
    said = "denoiser: its command has no {seed}, so its script must read ABLATIONS_SEED"
    assert said in overview(load({"command": "x {dataset} {hyperparameters}"}))
    assert said not in overview(load())


def test_a_plan_takes_own_hyperparameters_as_they_are():
    """A name that networks have may be of another type here, and a number of epochs may be 0 or new."""
    hyperparameters = {"train_samples": "str", "epochs": {"type": "int", "default": 2}}
    kind = {"command": "x {hyperparameters} {seed}", "hyperparameters": hyperparameters, "repeats": "epochs"}
    grid = [{"train_samples": "1k", "epochs": [0, 4]}]
    config = load(kind, {"grid": grid, "seeds": 0, "table": {"rows": ["epochs"]}})
    none, four = config.runs()
    old = {"kind": "denoiser", "status": "ok", "dataset": "none", "model": "none", "train_samples": "1k"}
    costs = Costs([{**old, "run_time_ms": "6000"}], {}, {}, config.all_kinds)
    assert [costs.of(run).seconds for run in (none, four)] == [3.0, 12.0]


def test_the_schema_accepts_own_kinds_and_still_checks_the_shipped_ones():
    import json

    import jsonschema

    schema = json.loads((PROJECT / "config/schema.json").read_text())
    config = {"kinds": {"denoiser": KIND}, "studies": {"s": STUDY}}
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "studies": {"s": {**STUDY, "kind": "cnn"}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "studies": {"s": {**STUDY, "sedes": 1}}}, schema)


def test_small_values_are_analysed_like_large_ones():
    config = load(study={"grid": [{"dataset": "faces", "depth": [4, 8], "lr": 0.01}], "seeds": [0, 1, 2]})
    study = config.studies["s"]
    values = dict(zip(study.runs(), (3.0, 3.1, 3.3, 3.6, 3.4, 3.9), strict=True))

    def found(scale: float):
        records = {run: {"status": "ok", "psnr": repr(value * scale)} for run, value in values.items()}
        (effect,) = effects(study, records, "psnr")
        return effect.comparison

    small, large = found(1e-9), found(1.0)
    assert small.p == pytest.approx(large.p)
    assert small.difference == pytest.approx(large.difference * 1e-9)
    assert small.interval.low == pytest.approx(large.interval.low * 1e-9)


@pytest.mark.parametrize("key", ["command", "setup"])
@pytest.mark.parametrize("text", ["git clone https://me:s3cret@host/x", "API_KEY=s3cret true"])
def test_a_hint_tells_of_a_command_that_shows_a_secret(text, key):
    written = {"command": f"{{}}; {KIND['command']}", "setup": "{}"}[key]
    found = list(hints(load({key: written.replace("{}", text)})))
    assert len(found) == 1
    assert found[0].startswith(f"kinds.denoiser.{key}: it shows a password or token")
    assert "s3cret" not in found[0]
    assert not list(hints(load({key: written.replace("{}", "API_KEY=$KEY true")})))
