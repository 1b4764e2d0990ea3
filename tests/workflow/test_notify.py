"""A command of the config is told when a call ends that did something."""

import yaml
from checkout import Checkout, jobs

SCRIPT = """
import json, pathlib, sys
depth = sys.argv[1].removeprefix("depth=")
if depth == "4" and not pathlib.Path("ready").exists():
    sys.exit("not ready")
print(json.dumps({"score": int(depth)}))
"""
CONFIG = {
    "kinds": {
        "toy": {
            "command": "python toy.py {overrides}",
            "hyperparameters": {"depth": "int"},
            "metrics": {"score": {}},
            "random": False,
        }
    },
    "studies": {
        "toys": {
            "title": "Toys",
            "kind": "toy",
            "grid": [{"depth": [2, 4]}],
            "table": {"rows": "depth"},
        }
    },
    "notify": """sh -c 'cat > told; echo "$ABLATIONS_OUTCOME" >> told'""",
}


def test_the_end_of_a_call_is_told(checkout: Checkout):
    checkout.config(yaml.safe_dump(CONFIG))
    (checkout.root / "toy.py").write_text(SCRIPT)
    told = checkout.root / "told"

    def call(*words: str):
        return checkout.snakemake("--configfile", "my.yaml", *words, "--", "results/records.tsv")

    assert call("-n").returncode == 0
    assert not told.exists()

    failed = call()
    assert failed.returncode == 1
    assert "    notify: sh -c 'cat > told" in failed.stderr, "its first call shows the command"
    place = f"Directory: {checkout.root}"
    assert told.read_text() == f"toys: failed\nRuns: 1 finished, 1 failed, 0 missing\n{place}\nfailed\n"

    (checkout.root / "ready").touch()
    assert call().returncode == 0
    assert told.read_text() == f"toys: succeeded\nRuns: 2 finished, 0 failed, 0 missing\n{place}\nsucceeded\n"

    told.unlink()
    assert call().returncode == 0
    assert not told.exists(), "nothing was done"

    without = call("--forcerun", "merge_records", "--config", "notify=no-such-program")
    assert without.returncode == 0
    assert jobs(without) == {"merge_records": 1}
    assert "note: notify: there is no program 'no-such-program' here" in without.stderr
    assert "notify: 'no-such-program' cannot be executed (No such file or directory)" in without.stderr
