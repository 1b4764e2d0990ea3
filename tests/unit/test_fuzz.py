"""Whatever stands in a config, its reader gets sentences and never a traceback."""

import copy
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablations.config.hints import hints
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError

PROJECT = Path(__file__).parents[2]
DATASETS = yaml.safe_load((PROJECT / "config/datasets.yaml").read_text())["datasets"]
CONFIG: dict[str, Any] = {
    "x-common": {"epochs": 1},
    "data_dir": "data",
    "device": "auto",
    "download_timeout_s": 60,
    "weights": {"mine": "p.tsv"},
    "datasets": {
        "mnist": DATASETS["mnist"],
        "digits": DATASETS["digits"],
        "pets": {**DATASETS["digits"], "format": "image_folder", "path": ".", "classes": 3},
    },
    "kinds": {
        "denoiser": {
            "command": "python train.py {hyperparameters} --seed {seed} --metrics {metrics} --data {dataset}",
            "datasets": {"set12": "p.tsv"},
            "hyperparameters": {
                "depth": "int",
                "lr": {"type": "float", "above": 0, "max": 1, "label": "Learning rate"},
                "act": {"choices": ["relu", "gelu"], "default": "relu"},
            },
            "metrics": {
                "psnr": {"label": "PSNR", "unit": "dB", "decimals": 2, "better": "higher"},
                "restored": {"noise": "proportion", "count": 200, "file": "out.json", "key": "a/b"},
            },
            "keep": ["*.pt"],
            "threads": 2,
            "items": "restored",
        }
    },
    "studies": {
        "networks": {
            "title": "Networks",
            "kind": "cnn",
            "grid": [
                {
                    "dataset": ["digits", "mnist"],
                    "model": "resnet18",
                    "batch_size": [16, 32],
                    "recipe": [{"optimizer": "sgd", "lr": 0.1}, {"optimizer": "adam", "lr": "1e-3"}],
                    "epochs": 1,
                    "pin_memory": False,
                    "pretrained": "mine",
                }
            ],
            "exclude": [{"batch_size": 32, "optimizer": "adam"}],
            "seeds": [0, 1],
            "table": {"rows": ["batch_size", "optimizer"], "columns": "dataset", "values": "test_accuracy"},
            "published": {"file": "p.tsv", "where": {"model": "resnet18"}},
            "keep": ["weights"],
        },
        "machines": {
            "title": "Machines",
            "kind": "svm",
            "grid": [{"dataset": "digits", "kernel": ["rbf", "poly"], "train_samples": 500, "C": [1, 10]}],
            "table": {"rows": ["kernel"], "columns": "C"},
            "analyse": "test_accuracy",
        },
        "own": {
            "title": "Own",
            "kind": "denoiser",
            "grid": [{"dataset": "set12", "depth": [1, 2], "lr": 0.5}],
            "table": {"rows": ["depth"], "values": ["psnr", "restored"]},
        },
    },
}
DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3.5, -0.0, 10**30, 2**63, float("nan"), float("inf"), float("-inf"), 1e308,
    "", " ", "none", "no", "0", "1e-3", "1e999", "é", "学習率 🙂", "\u202e\u0000", "a\nb",
    "x" * 5000, "../../x",
    "$(reboot)", "{x}", "{0.__class__}", "%s%n", "\\", "[", "~", b"bytes", [], {}, [[]], [None],
    [{}], {"": None},
    {"a": {"b": {"c": []}}}, {1: 2}, {None: None}, {"kind": "cnn"}, (1, 2), {1, 2}, DEEP, CYCLE,
    "resnet18", "cnn", "test_accuracy", "digits", ["digits", "digits"], [True, 1, 1.0], list(range(50)),
    "kernel", "C", "seed", "p.tsv", ".", "/", "/etc/shadow", "none.tsv", 1 + 2j,
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a config."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        if len(path) < 8:  # one of the values contains itself
            yield from places(value, (*path, key))


def at(node: Any, path: Iterable[Any]) -> Any:
    """What a config holds at a path."""
    for step in path:
        node = node[step]
    return node


def mutated(chance: random.Random) -> Any:
    """The config with one to three changes of values or keys."""
    config = copy.deepcopy(CONFIG)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        *above, key = chance.choice(list(places(config)))
        node = at(config, above)
        how = chance.randrange(8)
        # A value from elsewhere often has the right type, and comes further.
        value = at(config, chance.choice(list(places(config)))) if how > 5 else chance.choice(VALUES)
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, dict):
            node[value if isinstance(value, (str, int, type(None))) else "wrong"] = node.pop(key)
        elif how == 2:
            node[key] = [node[key], value]
        elif how == 3:
            node[key] = {"a": node[key], "b": value}
        else:
            node[key] = copy.deepcopy(value)
    return config


@pytest.mark.parametrize("part", range(6))
def test_fifty_mutated_configs_give_sentences_alone(part, tmp_path, monkeypatch):
    """Half of them are given as they are, as a module gives its config, and half as a YAML file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tsv").write_text("batch_size\toptimizer\tdigits\n16\tsgd\t91.5 ± 0.1\n", encoding="utf-8")
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    sentences = []
    for i in range(50):
        config = mutated(random.Random(50 * part + i))
        files = []
        if i % 2:
            files = [tmp_path / "c.yaml"]
            files[0].write_text(yaml.dump(config), encoding="utf-8")
        sentences += refusal(files, {} if files else config, tmp_path)
    assert len(sentences) > 25
    for sentence in sentences:
        assert ": " in sentence
        assert len(sentence) < 1000
        assert not any(word in sentence for word in ("Traceback", "<class", "Input should", "pydantic"))


def refusal(files: list[Path], overrides: dict[str, Any], root: Path) -> list[str]:
    """The lines with which a config is refused, if it is; anything but a ConfigError is raised."""
    try:
        list(hints(load_config(files, overrides, root)))
    except ConfigError as error:
        return str(error).splitlines() or [""]
    return []


def test_the_config_that_is_mutated_is_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tsv").write_text("batch_size\toptimizer\tdigits\n16\tsgd\t91.5\n")
    assert len(load_config([], copy.deepcopy(CONFIG), tmp_path).runs()) == 6 * 2 + 4 + 2


PIECES = [
    "\x00", "\t", "%", "@", "`", "&a ", "*a", "!!python/name:os.system ", "!!int ", "? ", "- ", ": ", "<<: ",
    "{", "]", "'", '"', "|\n", "---\n", "...\n", "\ufeff", "é", "\u2028", "#", "0x", "1:30", "032",
]  # fmt: skip


def test_a_hundred_damaged_files_give_sentences_alone(tmp_path):
    whole = yaml.dump(CONFIG)
    for i in range(100):
        chance = random.Random(i)
        text = whole
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(PIECES) + text[place + chance.choice((0, 0, 1, 20)) :]
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        assert "" not in refusal([tmp_path / "c.yaml"], {}, tmp_path)
