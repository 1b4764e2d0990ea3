"""Studies as papers have them, of real runs on real digits: what their tables and pages say.

The numbers of the tables are computed again here, from the merged records, by other code.
"""

import re
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ablations.analysis.cells import load_records
from ablations.config.config import Config
from ablations.config.reading import load_config
from ablations.presentation.document import Table
from ablations.presentation.tables import TABLES
from checkout import Checkout
from latex import compiled, needs_latex
from scipy import stats
from sklearn.datasets import load_digits

# A network that trains in a moment.
NETWORK = """
from torch import nn


def build(image_shape, classes):
    channels, height, width = image_shape
    hidden = nn.Linear(channels * height * width, 32)
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(32, classes))
"""
# The nearest mean of a few drawn images of each class, which needs no second.
MEANS = """
import json, sys
import numpy as np

values = dict(word.split("=") for word in sys.argv[1:])
images, labels = np.split(np.loadtxt(values["data"]), [-1], axis=1)
labels, draw, half = labels.ravel(), np.random.default_rng(int(values["seed"])), len(images) // 2
classes, means = np.unique(labels), []
for label in classes:
    drawn = draw.choice(np.flatnonzero(labels[:half] == label), int(values["per_class"]), replace=False)
    means.append(images[drawn].mean(axis=0))
distances = (np.abs(images[half:, None] - np.array(means)) ** float(values["power"])).sum(axis=-1)
answers = classes[distances.argmin(axis=1)]
print(json.dumps({"accuracy": 100 * float((answers == labels[half:]).mean())}))
"""
TASKS = {
    "all": range(10), "low": range(5), "high": range(5, 10), "even": range(0, 10, 2), "odd": range(1, 10, 2),
}  # fmt: skip
MACHINES = {"dataset": "digits", "kernel": ["rbf", "poly"], "train_samples": [100, 1000], "C": [0.01, 1]}
CONFIG = {
    "models": {"small": "network.py:build"},
    "kinds": {
        "means": {
            "command": "python means.py data={dataset} {overrides} seed={seed}",
            "datasets": {name: f"{name}.txt" for name in TASKS},
            "hyperparameters": {
                "per_class": {"type": "int", "label": "Images per class"},
                "power": {"type": "float", "label": "Power"},
            },
            "metrics": {"accuracy": {"label": "Accuracy", "unit": "%", "better": "higher"}},
        }
    },
    "studies": {
        "tuned": {
            "title": "What a small network needs",
            "kind": "cnn",
            "grid": [
                {
                    "dataset": "digits", "model": "small", "batch_size": 32, "optimizer": "sgd",
                    "lr": [0.001, 0.1], "epochs": 2, "momentum": 0.9, "train_samples": 600, "validation": 0.2,
                }
            ],
            "ablate": {"clip_norm": 0.01},
            "choose": {"over": "lr", "by": "val_accuracy"},
            "seeds": [0, 1, 2],
            "table": {"values": "test_accuracy", "spread": "ci95"},
        },
        "machines": {
            "title": "Machines by kernel and images",
            "kind": "svm",
            "grid": [MACHINES],
            "baseline": {"C": 1},
            "table": {"rows": "C", "columns": ["kernel", "train_samples"]},
        },
        "half": {
            "title": "Half of these machines",
            "kind": "svm",
            "grid": [MACHINES],
            "fraction": "main_effects",
            "table": {"rows": ["train_samples", "C"], "columns": "kernel"},
        },
        "drawn": {
            "title": "Drawn machines",
            "kind": "svm",
            "grid": [{**MACHINES, "kernel": "rbf", "train_samples": 400, "C": {"log_uniform": [0.001, 10]}}],
            "sample": {"points": 4, "seed": 0},
            "table": {"rows": "C", "values": ["test_accuracy", "support_vectors"]},
        },
        "asked": {
            "title": "Means of few images",
            "kind": "means",
            "grid": [{"dataset": "all", "per_class": [1, 10], "power": [2, 2.1]}],
            "exclude": [{"per_class": 1, "power": 2.1}],
            "baseline": {"per_class": 10, "power": 2},
            "seeds": list(range(7)),
            "margin": 3,
            "primary": "per_class",
            "test": "permutation",
            "table": {"rows": ["per_class", "power"], "spread": "se"},
        },
        "tasks": {
            "title": "Means on five tasks",
            "kind": "means",
            "grid": [{"dataset": list(TASKS), "per_class": [1, 4, 10], "power": 2}],
            "table": {"rows": "per_class", "columns": "dataset"},
        },
    },
}  # fmt: skip
PAGES = ("tuned", "asked")
pytestmark = pytest.mark.xdist_group("studies as papers have them")


@pytest.fixture(scope="module")
def made(made_once) -> Checkout:
    """The studies with their tables, and the pages of two."""

    def make(checkout: Checkout) -> None:
        pixels, labels = load_digits(return_X_y=True)
        for name, classes in TASKS.items():
            of_task = np.isin(labels, classes)
            np.savetxt(checkout.root / f"{name}.txt", np.column_stack([pixels, labels])[of_task], "%d")
        (checkout.root / "network.py").write_text(NETWORK)
        (checkout.root / "means.py").write_text(MEANS)
        targets = [f"results/tables/{name}.md" for name in CONFIG["studies"]]
        targets += [f"results/pages/{name}.html" for name in PAGES]
        config = checkout.config(yaml.safe_dump(CONFIG))
        done = checkout.snakemake("--configfile", config, "--", *targets)
        assert done.returncode == 0, done.stderr

    return made_once("paper_studies", make)


@pytest.fixture(scope="module")
def config(made: Checkout) -> Config:
    with chdir(made.root):
        return load_config([made.root / "config/datasets.yaml", made.root / "my.yaml"], root=made.root)


@pytest.fixture(scope="module")
def records(made: Checkout) -> pd.DataFrame:
    return pd.read_csv(made.root / "results/records.tsv", sep="\t", dtype=str, keep_default_na=False)


def tsv(made: Checkout, name: str) -> pd.DataFrame:
    return pd.read_csv(made.root / f"results/tables/{name}.tsv", sep="\t")


def text(made: Checkout, name: str) -> str:
    return (made.root / f"results/tables/{name}.md").read_text().replace("\\", "")


def table(made: Checkout, config: Config, study: str, name: str) -> Table:
    """A further table of a study, from the same records."""
    of = config.studies[study]
    with chdir(made.root):
        return TABLES[name](study, of, load_records(Path("results/records.tsv"), of.kind), None)


def by_seed(records: pd.DataFrame, kind: str, metric: str, **levels: object) -> np.ndarray:
    """A metric of the runs of a point, by seed."""
    rows = records[records["kind"] == kind]
    for name, level in levels.items():
        rows = rows[rows[name] == str(level)]
    assert len(rows), levels
    return rows.sort_values("seed")[metric].astype(float).to_numpy()


def test_validation_chooses_and_the_difference_is_that_of_the_chosen(made, records):
    rows = tsv(made, "tuned")
    assert rows["change"].tolist() == ["baseline", "clipped norm none → 0.01"]
    chosen = []
    for row in rows.itertuples():
        validated = {
            lr: by_seed(records, "cnn", "val_accuracy", clip_norm=row.clip_norm, lr=lr).mean()
            for lr in (0.001, 0.1)
        }
        assert row.lr == max(validated, key=validated.__getitem__)
        assert row.tried == 2
        assert row.val_accuracy == pytest.approx(validated[row.lr], abs=0.005)
        values = by_seed(records, "cnn", "test_accuracy", clip_norm=row.clip_norm, lr=row.lr)
        assert len(values) == 3
        assert row.test_accuracy == pytest.approx(values.mean(), abs=0.005)
        low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert (row.test_accuracy_ci_low, row.test_accuracy_ci_high) == pytest.approx(
            (low, min(high, 100)), abs=0.006
        )
        chosen.append(values)
    base, clipped = chosen
    test = stats.ttest_rel(clipped, base)
    assert rows["test_accuracy_difference"][1] == pytest.approx((clipped - base).mean(), abs=1e-3)
    assert rows["test_accuracy_p_holm"][1] == pytest.approx(test.pvalue, rel=1e-3)
    assert test.pvalue < 0.05, "a network whose gradient is clipped to nothing learns nothing"


def test_an_edge_of_the_grid_and_a_difference_have_marks_of_their_own(made):
    printed = text(made, "tuned")
    baseline, clipped = printed.splitlines()[4:6]
    assert re.search(r"\| +0\.1‡ +\| +2 +\|", baseline)
    assert re.search(r"\*\*\d+\.\d+ \[\d+\.\d+, \d+\.\d+\]\*\*", baseline), (
        "the best is bold, with its interval"
    )
    assert re.search(r"−\d+\.\d+ \(−\d+\.\d+ to −\d+\.\d+\) \* +\|$", clipped)
    for note in (
        "the highest mean validation accuracy over the seeds has chosen the learning rate. The test images "
        "have chosen nothing",
        "‡ The chosen learning rate is the lowest or the highest that was tried",
        "* marks a difference that is significant at 5 %, with Holm's correction over 1 test",
        "Its interval and test take the choices as given.",
        "In brackets is Student's 95 % interval of the mean over 3 seeds",
    ):
        assert note in printed


def test_each_column_has_its_own_baseline_and_best(made, records):
    rows = tsv(made, "machines").set_index("change")
    assert list(rows.index) == ["C 1 → 0.01", "baseline"]
    printed = text(made, "machines")
    for kernel in ("rbf", "poly"):
        for samples in (100, 1000):
            weak, strong = (
                by_seed(records, "svm", "test_accuracy", kernel=kernel, train_samples=samples, C=c)
                for c in (0.01, 1)
            )
            column = f"{kernel}/{samples}"
            assert rows[column]["baseline"] == pytest.approx(strong[0], abs=0.005)
            difference = rows[f"{column}_difference"]["C 1 → 0.01"]
            assert difference == pytest.approx(weak[0] - strong[0], abs=1e-3)
            assert f"**{strong[0]:.2f}**" in printed, "each column has its own best"
            assert f"**{weak[0]:.2f}**" not in printed
    assert "Holm's correction over 4 tests" in printed
    # On paper, an interval is below its difference where the table would be too wide.
    tex = (made.root / "results/tables/machines.tex").read_text()
    assert len(re.findall(r"\$-\$\d+\.\d+ \* \\\\ \(\$-\$\d+\.\d+ to \$-\$\d+\.\d+\)", tex)) == 4
    html = (made.root / "results/tables/machines.html").read_text()
    assert re.findall(r'<th[^>]* colspan="4"[^>]*>(\w+)</th>', html) == ["rbf", "poly"]


def test_a_fraction_has_each_level_equally_often_and_says_what_it_lacks(made, config):
    points = [values for values, _ in config.studies["half"].points()]
    assert len(points) == 4
    for name in ("kernel", "train_samples", "C"):
        assert sorted([values[name] for values in points].count(each[name]) for each in points) == [2] * 4
    printed = text(made, "half")
    assert printed.count("– |") == 4
    assert "– instead of a value: the study does not have this point." in printed
    assert table(made, config, "half", "effects").data.empty
    notes = table(made, config, "half", "design").notes
    assert any("none to show noise: with one seed, no effect has a test" in note for note in notes)


def test_drawn_points_are_those_of_each_machine_and_compared_by_a_line(made, config, records):
    rows = tsv(made, "drawn")
    assert rows["C"].tolist() == [0.0017, 0.0364, 0.628, 2.96]
    accuracies = by_seed(records, "svm", "test_accuracy", train_samples=400)
    assert sorted(rows["test_accuracy"]) == pytest.approx(sorted(accuracies), abs=0.005)
    effects = table(made, config, "drawn", "effects")
    effect, exact = effects.data.itertuples()
    assert exact.verdict == "2.96 is better (lower), if there are no interactions"
    slope = stats.linregress(np.log(rows["C"]), rows["test_accuracy"]).slope
    assert (effect.first, effect.second) == ("0.0017", "2.96")
    assert float(effect.difference) == pytest.approx(slope * np.log(2.96 / 0.0017), abs=0.02)


def test_a_question_has_its_answer(made, config, records):
    rows = tsv(made, "asked").set_index("change")
    point = {
        change: by_seed(records, "means", "accuracy", dataset="all", per_class=per_class, power=power)
        for change, per_class, power in (
            ("baseline", 10, 2), ("images per class 10 → 1", 1, 2), ("power 2 → 2.1", 10, 2.1),
        )
    }  # fmt: skip
    base = point.pop("baseline")
    assert len(base) == 7
    for change, values in point.items():
        exact = stats.permutation_test(
            (values - base,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        row = rows.loc[change]
        assert row["accuracy_difference"] == pytest.approx((values - base).mean(), abs=1e-3)
        assert row["accuracy_p_holm"] == pytest.approx(exact.pvalue, rel=1e-3), "each family has one test"
    assert rows["accuracy_family"].tolist()[:1] == ["primary"]
    printed = text(made, "asked")
    one, baseline, power = printed.splitlines()[4:7]
    assert re.search(r"\) \* +\|$", one)
    assert re.search(r"\) † ≈ +\|$", power)
    assert f"{base.mean():.2f} ± {base.std(ddof=1) / 7**0.5:.2f}" in baseline
    assert "**" in baseline
    assert "**" not in one
    for note in (
        "± is the standard error of the mean over 7 seeds.",
        "The study declares images per class as primary.",
        "; † marks an exploratory difference that is significant at 5 %",
        "≈ marks a difference in accuracy within 3 points",
        "a paired permutation test over the seeds, at 5 % with Bonferroni's correction over all pairs",
    ):
        assert note in printed
    verdicts = table(made, config, "asked", "effects").data.set_index("hyperparameter")["verdict"]
    assert verdicts["per_class"].startswith("10 is better (higher)")
    assert verdicts["power"].startswith("exploratory: 2.1 is better (higher), by less than 3 points")


def test_ranks_are_scipys(made, config, records):
    scores = [
        [by_seed(records, "means", "accuracy", dataset=task, per_class=n, power=2)[0] for n in (1, 4, 10)]
        for task in TASKS
    ]
    mean_ranks = stats.rankdata(-np.array(scores), axis=1).mean(axis=0)
    found = table(made, config, "tasks", "ranks").data
    ranks = dict(zip(found["per_class"], found["mean_rank"].astype(float), strict=True))
    assert [ranks[str(n)] for n in (1, 4, 10)] == pytest.approx(mean_ranks)
    # Nemenyi's critical difference, with the studentized range of scipy.
    far = stats.studentized_range.ppf(0.95, 3, np.inf) / 2**0.5 * (3 * 4 / (6 * 5)) ** 0.5
    best = {n for n, mean in ranks.items() if mean - min(ranks.values()) < far}
    assert set(found.loc[found["best"] == "yes", "per_class"]) == best
    assert "1" not in best


@needs_latex
def test_every_table_is_printed_by_tex(made, config, tmp_path):
    with chdir(made.root):
        names = {name: ["design", "effects", "variance", "compute"] for name in config.studies}
        names["tasks"].append("ranks")
        names["asked"].append("profiles")
    bodies = [(made.root / f"results/tables/{name}.tex").read_text() for name in names]
    bodies += [table(made, config, study, name).latex() for study, of in names.items() for name in of]
    packages = r"\usepackage[margin=2cm]{geometry}\usepackage{booktabs,graphicx,longtable,siunitx}"
    printed = compiled(tmp_path, "\n\\clearpage\n".join(bodies), packages)
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", printed)]
    assert max(wide, default=0) < 3, printed


def test_pages_of_real_studies_open(made, opened):
    page = opened(made.root / "results/pages/tuned.html")
    assert "12 of 12 runs are completed." in page.locator("header").inner_text()
    assert page.locator("td.best").count() == 1
    assert page.locator("#section-table td", has_text="‡").count() == 2
    assert page.locator("#section-curves figure img").evaluate("image => image.naturalWidth") > 300
    page = opened(made.root / "results/pages/asked.html")
    sections = page.locator("h2").all_inner_texts()
    assert {"Results", "Effects", "Performance profiles", "Compute"} <= set(sections)
    page.get_by_role("button", name="Interquartile mean").click()
    means = page.locator("#section-profiles-table tbody tr > :nth-child(4)").all_inner_texts()
    page.locator("#section-profiles th[aria-sort=descending]").wait_for()
    assert [float(mean) for mean in means] == sorted(map(float, means), reverse=True)
