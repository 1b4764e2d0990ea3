"""What a study keeps stays beside the record, and to ask for it later reruns no finished run."""

from checkout import Checkout, jobs

STUDY = """
studies:
  networks:
    title: Networks on digits
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: 32, optimizer: adam, lr: LR, epochs: 1,
            pin_memory: false, train_samples: 160}]
    table: {rows: [lr], values: [test_accuracy, test_macro_f1, worst_class_accuracy, test_ece, test_nll]}
"""
TABLE = "results/tables/networks.tsv"
KEPT = STUDY.replace("kind: cnn", "kind: cnn\n    keep: [weights, logits]")


def files(checkout: Checkout, lr: str) -> set[str]:
    [record] = checkout.root.glob(f"results/runs/**/*lr={lr}+*/record.tsv")
    return {path.name for path in record.parent.iterdir()}


def test_only_a_run_that_is_still_to_do_is_kept(checkout: Checkout):
    plain = {"record.tsv", "history.tsv", "run.log", "run.lock"}
    checkout.config(STUDY.replace("LR", "1e-3"))
    done = checkout.snakemake("results/records.tsv", "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert files(checkout, "0.001") == plain

    checkout.config(KEPT.replace("LR", "[1e-3, 1e-4]"))
    done = checkout.snakemake(TABLE, "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert jobs(done)["train_cnn"] == 1
    assert files(checkout, "0.001") == plain
    assert files(checkout, "0.0001") == plain | {"weights.safetensors", "logits.safetensors"}
    header = (checkout.root / "results/tables/networks.tsv").read_text().splitlines()[0]
    assert header.split("\t") == [
        "lr", "test_accuracy", "test_macro_f1", "worst_class_accuracy", "test_ece", "test_nll"
    ]  # fmt: skip

    # To stop keeping reruns nothing either, and removes nothing.
    checkout.config(STUDY.replace("LR", "[1e-3, 1e-4]"))
    assert "train_cnn" not in jobs(checkout.snakemake("-n", TABLE, "--configfile", "my.yaml"))
    assert files(checkout, "0.0001") == plain | {"weights.safetensors", "logits.safetensors"}
