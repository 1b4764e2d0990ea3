"""What the tables claim about their own errors, each with the simulation that measures it.

    python tests/statistics/claims.py

writes the nominal and the simulated rates into docs/statistics.md. All seeds are fixed.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

import numpy as np
from ablations.analysis.agreement import Compared, Outcome, Spread, compare
from ablations.analysis.best import Best, best_points
from ablations.analysis.cells import Cell
from ablations.analysis.choice import choices
from ablations.analysis.effects import effects
from ablations.analysis.equivalence import with_margin
from ablations.analysis.inference import ALPHA, Comparison, holm
from ablations.analysis.items import compare_items, interval_over_seeds_and_items, variance_of_items
from ablations.analysis.linear_model import LinearModel
from ablations.analysis.measurements import Records
from ablations.analysis.normality import normality
from ablations.analysis.paired import MeanEstimate, compare_pairs, judge_by_seeds, judge_by_units
from ablations.analysis.paired_tests import retested
from ablations.analysis.points import Contrast, Point, contrasts
from ablations.analysis.profiles import beats, interquartile_mean
from ablations.analysis.ranks import critical_difference, friedman
from ablations.analysis.sample_size import detectable, pairs_needed, units_needed
from ablations.analysis.variance import Factor, VarianceSource, _sources
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study, parse_study
from ablations.kinds.cnn import CNN
from ablations.kinds.hits import pack
from ablations.runs.run import Run
from scipy import stats

PAGE = PROJECT / "docs/statistics.md"
BEGIN, END = "<!-- begin: simulations -->", "<!-- end: simulations -->"
REPEATS = 10_000
ACCURACY = CNN.metrics["test_accuracy"]


@dataclass(frozen=True)
class Claim:
    """A rate that a table claims, in a case, and between which limits its simulation must be."""

    about: str
    case: str
    nominal: str
    limits: tuple[float, float]
    simulate: Callable[[np.random.Generator], float]

    def rate(self) -> float:
        """The simulated rate, the same at each call."""
        return self.simulate(np.random.default_rng(0))

    def row(self, rate: float) -> str:
        return f"| {self.about} | {self.case} | {self.nominal} | {rate:.3f} |"


CLAIMS: list[Claim] = []


def claim(about: str, case: str, nominal: str, limits: tuple[float, float]) -> Callable:
    """Register a simulation: the decorated function, called with a random generator."""

    def register(simulate: Callable[[np.random.Generator], float]) -> Callable:
        CLAIMS.append(Claim(about, case, nominal, limits, simulate))
        return simulate

    return register


# Rates of 10,000 repeats have a standard error of 0.002 at 0.05.
LEVEL = (0.04, 0.057)
AT_MOST = (0.0, 0.057)


# --- effects judged by seeds or settings -----------------------------------------------------------


def significant(found: MeanEstimate) -> float:
    """How often the mean is significant at 5 %."""
    return float(np.mean(2 * stats.t.sf(np.abs(found.mean) / found.error, found.df) < ALPHA))


def seed_differences(draw: np.random.Generator, settings: Sequence[Sequence[int]], luck: float) -> np.ndarray:
    """Differences without any effect, by setting and seed; `luck` is the sd of what a seed's pairs share."""
    seeds = 1 + max(seed for of_setting in settings for seed in of_setting)
    shape = (REPEATS, len(settings), seeds)
    found = draw.normal(size=shape) + luck * draw.normal(size=(REPEATS, 1, seeds))
    for i, of_setting in enumerate(settings):
        found[:, i, [seed for seed in range(seeds) if seed not in of_setting]] = np.nan
    return found


SETTINGS = {
    "4 settings with 3 seeds": ([range(3)] * 4, LEVEL),
    "one setting with 10 seeds, seven with 2": ([range(10)] + [range(2)] * 7, AT_MOST),
    "three settings with 5 seeds, one with 2": ([range(5)] * 3 + [range(2)], AT_MOST),
    "seeds 0 and 1 in one setting, 2 and 3 in another": ([(0, 1), (2, 3)], LEVEL),
    "four settings, each with a new seed and one of the last": ([(i, i + 1) for i in range(4)], AT_MOST),
}

for case, (of_settings, limits) in SETTINGS.items():
    for luck in (0, 1, 3):

        @claim("Effect by seeds: false positives", f"{case}; shared luck {luck}", "0.05", limits)
        def _(draw, of_settings=of_settings, luck=luck) -> float:
            return significant(judge_by_seeds(seed_differences(draw, of_settings, luck)))


for counts in ((1, 1, 1, 1), (2, 1, 1), (5, 1, 1, 1)):

    @claim(
        "Effect by settings: false positives",
        f"{len(counts)} different settings that occur {', '.join(map(str, counts))} times",
        "0.05",
        AT_MOST,
    )
    def _(draw, counts=counts) -> float:
        return significant(judge_by_units(draw.normal(size=(REPEATS, len(counts))), np.array(counts)))


def study_of(exclude: list[dict]) -> Study:
    """2 models × 8 settings with up to 10 seeds."""
    return parse_study(
        {
            "title": "simulated",
            "kind": "cnn",
            "grid": [
                {
                    "dataset": "mnist",
                    "model": ["resnet18", "resnet34"],
                    "batch_size": [16, 32],
                    "optimizer": ["sgd", "adam"],
                    "lr": [0.001, 0.01],
                    "epochs": 1,
                    "pin_memory": False,
                }
            ],
            "exclude": exclude,
            "seeds": list(range(10)),
            "table": {"rows": ["model"]},
        }
    )


def wrong_models(draw: np.random.Generator, study: Study) -> float:
    """How often a whole study finds one of two equal models better; a seed's luck with a model is shared."""
    wrong = []
    for _ in range(200):
        luck = draw.normal(0, 1, (2, 10))
        found = {
            run: {
                "status": "ok",
                "test_accuracy": f"{90 + luck[int(run.model == 'resnet18'), seed] + noise:.6f}",
                "dataset": run.dataset,
            }
            for run, noise in zip(study.runs(), draw.normal(size=len(study.runs())), strict=True)
            if (seed := run.value("seed")) is not None
        }
        [of_model] = [e for e in effects(study, found, "test_accuracy") if e.factor == "model"]
        p = of_model.comparison and of_model.comparison.p
        wrong.append(p is not None and p < ALPHA)
    return float(np.mean(wrong))


# Together, all settings but one, and all but three.
BUT_ONE = [{"batch_size": 32}, {"optimizer": "adam"}, {"lr": 0.01}]
BUT_THREE = [{"batch_size": 32}, {"optimizer": "adam", "lr": 0.01}]


@claim(
    "Whole study: false positives", "one setting with 10 seeds, seven with 2; shared luck 1", "0.05", AT_MOST
)
def _(draw) -> float:
    return wrong_models(draw, study_of([{**one, "seed": list(range(2, 10))} for one in BUT_ONE]))


@claim(
    "Whole study: false positives",
    "three settings with 3 seeds, five with 1; shared luck 1",
    "0.05",
    (0, 0.1),
)
def _(draw) -> float:
    more = [{"seed": list(range(3, 10))}, *({**one, "seed": [1, 2]} for one in BUT_THREE)]
    return wrong_models(draw, study_of(more))


for n in (2, 3, 5):

    @claim("Linear model of several seeds: false positives", f"{n} seeds, 8 points", "0.05", (0.035, 0.065))
    def _(draw, n=n) -> float:
        signs = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
        rows = np.tile(np.column_stack([np.ones(8), signs]), (n, 1))
        seeds = np.repeat(range(n), 8).tolist()
        ps = []
        for _ in range(2000):
            values = draw.normal(size=(n, 8)) + draw.normal(size=(n, 1))
            found = LinearModel(rows, values.ravel(), seeds).compare(np.array([0.0, 1.0, 0.0, 0.0]))
            ps.append(found.p)
        return float(np.mean(np.array(ps) < ALPHA))


@claim("Holm: any false positive of 10 tests", "independent tests", "0.05", (0.04, 0.06))
def _(draw) -> float:
    return float(np.mean([min(holm(ps)) < ALPHA for ps in draw.random((REPEATS, 10)).tolist()]))


def other_images(draw: np.random.Generator, seeds: int, items: int) -> Comparison:
    """Two equally good models that find other images hard, compared by seeds."""
    shared = draw.beta(0.1, 0.9, items)
    wrong = np.stack([np.where(draw.random(items) < 0.5, shared, draw.beta(0.1, 0.9, items)) for _ in "ab"])
    right = draw.random((seeds, 2, items)) >= wrong
    difference = right[:, 1].astype(float) - right[:, 0]
    found = compare_pairs([dict(enumerate(difference.mean(axis=1)))])
    return found.with_items(variance_of_items(difference)) if found.error else found


for n in (3, 5, 10):

    @claim("Effect by seeds and images: false positives", f"{n} seeds, 360 images", "0.05", (0.0, 0.075))
    def _(draw, n=n) -> float:
        found = [other_images(draw, n, 360).p_over_items for _ in range(600)]
        return float(np.mean([p is not None and p < ALPHA for p in found]))


# --- declared questions ------------------------------------------------------------------------------


def asked(
    draw: np.random.Generator, units: int, repeats: int, test: Test, true: float
) -> Iterator[Comparison]:
    """Comparisons by this test of so many seeds, whose differences have an sd of 1."""
    for values in draw.normal(true, 1, (repeats, units)).tolist():
        yield retested(compare_pairs([dict(enumerate(values))], sized=False), test)


for test, n, repeats, limits in (
    ("wilcoxon", 6, 300, (0.01, 0.05)),
    ("permutation", 6, 2000, (0.02, 0.04)),
    ("permutation", 8, 2000, (0.03, 0.057)),
    ("bootstrap", 6, 300, (0.02, 0.08)),
    ("bootstrap", 10, 300, (0.02, 0.08)),
):

    @claim(f"Test by {test}: false positives", f"{n} seeds", "0.05", limits)
    def _(draw, n=n, test=test, repeats=repeats) -> float:
        return float(np.mean([each.p < ALPHA for each in asked(draw, n, repeats, test, 0.0)]))


for test, n in (("t", 5), ("permutation", 8)):

    @claim(
        "Equivalence: found where the difference is the margin", f"{test}, {n} seeds", "0.05", (0.02, 0.065)
    )
    def _(draw, n=n, test=test) -> float:
        found = asked(draw, n, 1000, test, 1.5)
        return float(np.mean([with_margin(each, 1.5, test).p_equivalent < ALPHA for each in found]))


for items in (360, 10_000):
    case = f"two runs, {items:,} images"

    @claim("Equivalence: found where the difference is the margin", case, "0.05", (0.0, 0.075))
    def _(draw, items=items) -> float:
        found = []
        for first, second, _ in draw.multinomial(items, [0.02, 0.05, 0.93], 500):
            sides = np.zeros((2, items), bool)
            sides[0, :first], sides[1, first : first + second] = True, True
            compared = compare_items([(("it", sides[0]), ("it", sides[1]))], 100)
            found.append(with_margin(compared, 3.0).p_equivalent < ALPHA)
        return float(np.mean(found))


for n in (5, 10):

    @claim("Normality: doubted in any of 3 tests, where all are normal", f"{n} seeds", "0.05", (0.02, 0.07))
    def _(draw, n=n) -> float:
        found = [normality(list(asked(draw, n, 3, "t", 0.0))) for _ in range(500)]
        return float(np.mean([min(ps) < ALPHA for ps in found]))


@claim("Normality: doubted where one of the seeds collapses", "5 seeds", "", (0.9, 1.0))
def _(draw) -> float:
    values = draw.normal(0, 1, (200, 5)) + np.array([20.0, 0, 0, 0, 0])
    found = [compare_pairs([dict(enumerate(each))], sized=False) for each in values.tolist()]
    return float(np.mean([normality([each])[0] < ALPHA for each in found]))


for n, k in ((5, 3), (8, 6)):

    @claim("Ranks: any setting differs, where all are equal", f"{n} datasets, {k} settings", "0.05", AT_MOST)
    def _(draw, n=n, k=k) -> float:
        of_datasets = stats.rankdata(draw.normal(size=(4000, n, k)), axis=-1)
        spreads = np.ptp(of_datasets.mean(axis=1), axis=-1)
        is_far = spreads >= critical_difference(n, k)
        return float(
            np.mean([far and friedman(of) < ALPHA for far, of in zip(is_far, of_datasets, strict=True)])
        )


def settings(draw: np.random.Generator, seeds: int, datasets: int, shared: bool) -> dict[tuple, float]:
    """Scores by dataset and seed with an sd of 1; those of a seed are equal if it shares all of its luck."""
    values = np.broadcast_to(draw.normal(size=(1 if shared else datasets, seeds)), (datasets, seeds))
    return {place: float(value) for place, value in np.ndenumerate(values)}


for n, k, shared in ((5, 1, False), (5, 4, True), (10, 4, False)):
    case = f"{n} seeds, {k} dataset{'s' * (k > 1)}{', which share the luck of a seed' * shared}"

    @claim("Interquartile mean: the interval covers the true one", case, "0.95", (0.9, 0.99))
    def _(draw, n=n, k=k, shared=shared) -> float:
        found = [interquartile_mean(settings(draw, n, k, shared))[1] for _ in range(400)]
        return float(np.mean([each.low <= 0 <= each.high for each in found if each]))

    @claim("Better in a share of seeds: the interval covers it", case, "0.95", (0.93, 1.0))
    def _(draw, n=n, k=k, shared=shared) -> float:
        true, held = float(stats.norm.cdf(1 / 2**0.5)), []
        for _ in range(400):
            better = {place: value + 1 for place, value in settings(draw, n, k, shared).items()}
            interval = beats(ACCURACY, better, settings(draw, n, k, shared)).interval
            held.append(interval.low <= true <= interval.high)
        return float(np.mean(held))


# --- marks ------------------------------------------------------------------------------------------

MARKED = parse_study(
    {
        "title": "simulated",
        "kind": "cnn",
        "grid": [
            {
                "dataset": "mnist",
                "model": "resnet18",
                "batch_size": [16, 32],
                "optimizer": "sgd",
                "lr": [0.1, 0.01],
                "epochs": 1,
            }
        ],
        "seeds": [0, 1, 2, 3, 4],
        "table": {"rows": ["batch_size", "lr"]},
    }
)
POINTS = [runs for _, runs in MARKED.points()]


def measured(points: Sequence[Sequence[Run]], **metrics: np.ndarray) -> dict[Run, dict[str, str]]:
    """The records of some runs of points, with metrics of shape (points, runs), around 90."""
    return {
        run: {"status": "ok"} | {name: f"{90 + values[i, j]:.6f}" for name, values in metrics.items()}
        for i, runs in enumerate(points)
        for j, run in enumerate(runs)
    }


def marked(values: np.ndarray, study: Study = MARKED) -> Best:
    """The marks of accuracies of shape (settings, seeds)."""
    points = [runs[: values.shape[1]] for _, runs in study.points()]
    best = best_points(study, measured(points, test_accuracy=values), "test_accuracy", points)
    assert best is not None
    return best


for n in (2, 3, 5):

    @claim(
        "Marks: a setting is not in bold, where all are equal",
        f"4 settings, {n} seeds; shared luck 1",
        "0.05",
        (0.0, 0.065),
    )
    def _(draw, n=n) -> float:
        values = draw.normal(size=(600, 4, n)) + draw.normal(size=(600, 1, n))
        return float(np.mean([marked(each).is_told for each in values]))


for test, repeats in (("wilcoxon", 200), ("permutation", 400), ("bootstrap", 200)):
    case = f"4 settings, 10 seeds, by {test}; shared luck 1"

    @claim("Marks: a setting is not in bold, where all are equal", case, "0.05", (0.0, 0.08))
    def _(draw, test=test, repeats=repeats) -> float:
        study = parse_study({**MARKED.written, "seeds": list(range(10)), "test": test})
        values = draw.normal(size=(repeats, 4, 10)) + draw.normal(size=(repeats, 1, 10))
        return float(np.mean([marked(each, study).is_told for each in values]))


@claim(
    "Marks: the truly best setting is not in bold", "4 settings, 5 seeds, best by 1 sd", "0.05", (0.0, 0.05)
)
def _(draw) -> float:
    values = draw.normal(size=(300, 4, 5)) + np.array([1.0, 0, 0, 0])[:, None]
    return float(np.mean([0 not in marked(each).places for each in values]))


@claim(
    "Marks: a setting is not in bold, where all are equal", "4 single runs, 360 images", "0.05", (0.0, 0.065)
)
def _(draw) -> float:
    one_seed = MARKED.model_copy(update={"seeds": [0]})
    points, told = [runs[:1] for runs in POINTS], []
    for _ in range(300):
        hits = draw.random((4, 360)) >= draw.beta(0.1, 0.9, 360)
        found = {
            run: {
                "status": "ok",
                "dataset": "mnist",
                "test_samples": "360",
                "test_accuracy": f"{100 * of_run.mean():.6f}",
                "test_correct": pack(of_run),
            }
            for [run], of_run in zip(points, hits, strict=True)
        }
        best = best_points(one_seed, found, "test_accuracy", points)
        told.append(best is not None and best.is_told)
    return float(np.mean(told))


# --- differences to a baseline ------------------------------------------------------------------------


def is_starred(study: Study, found: Records, points: Sequence[Point]) -> bool:
    """Whether any difference to the baseline is significant after Holm's correction."""
    compared = contrasts(study, found, "test_accuracy", points)
    return any(each is not None and each.p is not None and each.p < ALPHA for each in compared)


for test, n, repeats in (
    ("t", 2, 500), ("t", 3, 500), ("t", 5, 500),
    ("wilcoxon", 8, 200), ("permutation", 8, 400), ("bootstrap", 8, 200),
):  # fmt: skip
    case = f"3 points, {n} seeds, by {test}; shared luck 1"

    @claim("Differences to a baseline: any false positive", case, "0.05", (0.0, 0.08))
    def _(draw, test=test, n=n, repeats=repeats) -> float:
        asks = {"baseline": {"batch_size": 16, "lr": 0.1}, "seeds": list(range(n)), "test": test}
        study = parse_study({**MARKED.written, **asks})
        points, runs = study.points(), [runs for _, runs in study.points()]
        values = draw.normal(size=(repeats, 4, n)) + draw.normal(size=(repeats, 1, n))
        return float(np.mean([is_starred(study, measured(runs, test_accuracy=v), points) for v in values]))


RATES = [0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6]


def tuned(first: int, second: int, seeds: int) -> Study:
    """Two optimizers with so many learning rates each, among which validation chooses."""
    block = {"dataset": "mnist", "model": "resnet18", "batch_size": 16, "epochs": 1, "validation": 0.1}
    counts = (("sgd", first), ("adam", second))
    return parse_study(
        {
            "title": "simulated",
            "kind": "cnn",
            "grid": [{**block, "optimizer": name, "lr": RATES[:count]} for name, count in counts],
            "choose": {"over": "lr", "by": "val_accuracy"},
            "baseline": {"optimizer": "sgd"},
            "seeds": list(range(seeds)),
            "table": {"rows": "optimizer"},
        }
    )


def after_a_choice(draw: np.random.Generator, first: int, second: int, shared: float) -> list[Contrast]:
    """Differences between the chosen of equal candidates; validation and test correlate so much."""
    study, found = tuned(first, second, 5), []
    runs = [runs for _, runs in study.points()]
    for luck, own in draw.normal(size=(400, 2, first + second, 5)):
        validated = shared * luck + math.sqrt(1 - shared**2) * own
        records = measured(runs, test_accuracy=luck, val_accuracy=validated)
        points = [each.point for each in choices(study, records)]
        found += filter(None, contrasts(study, records, "test_accuracy", points))
    return found


for first, second, shared in ((3, 3, 0.5), (6, 6, 1.0), (1, 6, 0.0), (1, 6, 0.5), (1, 6, 1.0)):
    case = f"{first} and {second} equal candidates, 5 seeds; validation and test correlate by {shared:g}"

    @claim("After a choice: false positives", case, "0.05", (0.0, 0.11 if first < second else 0.08))
    def _(draw, first=first, second=second, shared=shared) -> float:
        found = after_a_choice(draw, first, second, shared)
        return float(np.mean([each.p is not None and each.p < ALPHA for each in found]))


for shared in (0.0, 0.5, 1.0):
    case = f"1 and 6 equal candidates, 5 seeds; validation and test correlate by {shared:g}"

    @claim(
        "After a choice: mean difference, in sd of a run", case, "0", (shared * 0.4 - 0.1, shared * 0.7 + 0.1)
    )
    def _(draw, shared=shared) -> float:
        found = after_a_choice(draw, 1, 6, shared)
        return float(np.mean([each.comparison.difference for each in found if each.comparison]))


# --- power ------------------------------------------------------------------------------------------

for n, tests in ((2, 3), (3, 3), (5, 1), (5, 3)):

    @claim("What so many seeds detect: power", f"{n} seeds, {tests} tests", "0.80", (0.79, 0.81))
    def _(draw, n=n, tests=tests) -> float:
        values = draw.normal(detectable(n, tests), 1, (40_000, n))
        t = values.mean(axis=1) / values.std(axis=1, ddof=1) * np.sqrt(n)
        return float(np.mean(2 * stats.t.sf(t, n - 1) < ALPHA / tests))


for n, effect in ((3, 1.0), (5, 1.0), (5, 0.5), (3, 0.0)):

    @claim(
        "Seeds needed: the range has the true number, where nothing was found",
        f"{n} seeds, d = {effect:g}",
        "0.95",
        (0.92, 1.0),
    )
    def _(draw, n=n, effect=effect) -> float:
        true, held = pairs_needed(effect) or math.inf, []
        for _ in range(200):
            found = compare_pairs([dict(enumerate(draw.normal(effect, 1, n).tolist()))])
            if found.p is not None and found.p >= ALPHA and found.effect_interval:
                few, many = units_needed(found, 1)
                held.append((few or math.inf) <= true <= (many or math.inf))
        return float(np.mean(held))


# --- intervals of means -----------------------------------------------------------------------------


def right(draw: np.random.Generator, seeds: int, sd: float) -> tuple[np.ndarray, float]:
    """Which of 1,000 items each seed gets right, and the mean of other seeds on these items.

    On average, 92 % of all items are right. Two seeds agree on the items with a correlation of 0.45.
    """
    wrong = draw.beta(0.08 * 1.2, 0.92 * 1.2, 1000)
    luck = draw.normal(0, sd / 8, (seeds, 1))
    return draw.random((seeds, 1000)) >= np.clip(wrong * (1 + luck), 0, 1), 1 - float(wrong.mean())


COVERAGE = (0.93, 0.975)
OVER_BOTH = "Interval over seeds and images: covers other seeds and images"

for n in (2, 3, 5, 10):

    @claim("Interval over seeds: covers other seeds on these images", f"{n} seeds, sd 1", "0.95", COVERAGE)
    def _(draw, n=n) -> float:
        covered = []
        for _ in range(1000):
            scores, on_these = right(draw, n, 1)
            found = Cell(ACCURACY, tuple(100 * scores.mean(axis=1))).interval
            covered.append(bool(found and found.low <= 100 * on_these <= found.high))
        return float(np.mean(covered))

    @claim(OVER_BOTH, f"{n} seeds, sd 1", "0.95", (0.93, 0.99))
    def _(draw, n=n) -> float:
        covered = []
        for _ in range(1000):
            found = interval_over_seeds_and_items(right(draw, n, 1)[0])
            covered.append(bool(found and found.low <= 0.92 <= found.high))
        return float(np.mean(covered))


# --- two runs ---------------------------------------------------------------------------------------

for items, one, other in ((100, 0.05, 0.05), (360, 0.02, 0.06), (10_000, 0.01, 0.012)):
    case = f"{items:,} images, of which only one run gets {100 * one:g} % and {100 * other:g} % right"

    @claim("Two runs: the interval covers the difference", case, "0.95", (0.94, 0.995))
    def _(draw, items=items, one=one, other=other) -> float:
        covered = []
        for first, second, _ in draw.multinomial(items, [one, other, 1 - one - other], 500):
            sides = np.zeros((2, items), bool)
            sides[0, :first], sides[1, first : first + second] = True, True
            interval = compare_items([(("it", sides[0]), ("it", sides[1]))], 1).interval
            covered.append(interval.low <= other - one <= interval.high)
        return float(np.mean(covered))


# --- sources of variance ----------------------------------------------------------------------------


def of_noise_alone(draw: np.random.Generator, seeds: int) -> list[tuple[VarianceSource, ...]]:
    """The sources of 3 × 2 × 2 points without any effect; runs of a seed share half of their noise."""
    factors: list[Factor] = [("model",), ("lr",), ("epochs",)]
    shape = (1000, 3, 2, 2, seeds)
    noise = draw.normal(size=shape) + draw.normal(size=(1000, 1, 1, 1, seeds))
    return [_sources(90 + each, factors) for each in noise]


for n in (2, 3, 5):

    @claim("Variance: share of the seeds, where nothing else varies", f"{n} seeds", "1.00", (0.97, 1.03))
    def _(draw, n=n) -> float:
        return float(np.mean([sources[-1].share for sources in of_noise_alone(draw, n)])) / 100

    @claim("Variance: false positives of the F tests", f"{n} seeds", "0.05", (0.0, 0.06))
    def _(draw, n=n) -> float:
        sources = [source for each in of_noise_alone(draw, n) for source in each]
        return float(np.mean([source.p < ALPHA for source in sources if source.p is not None]))


@claim("Variance: false positives, judged by images", "2 × 2 machines, 360 images", "0.05", (0.03, 0.065))
def _(draw) -> float:
    ps = []
    for _ in range(500):
        hard = draw.beta(0.1, 0.9, 360)
        hits = (draw.random((2, 2, 360)) > hard).astype(float)
        ps += [each.p for each in _sources(hits, [("kernel",), ("samples",)], "items") if each.p is not None]
    return float(np.mean(np.array(ps) < ALPHA))


# --- published and measured values ------------------------------------------------------------------


def outcomes(draw, n: int, sd: float, difference: float, values: int = 1) -> list[list[Outcome]]:
    """The verdicts of studies of 16 points with n seeds each (2 for the spread of single runs)."""
    found, df = [], 16 * (max(n, 2) - 1)
    for _ in range(2000 // values):
        spread = Spread(sd * float(np.sqrt(draw.chisquare(df) / df)), df)
        published, measured = draw.normal(92, sd, values), draw.normal(92 + difference, sd, (values, n))
        compared = [
            Compared(f"{one:.4f}", Cell(ACCURACY, tuple(other)), 10_000, spread)
            for one, other in zip(published, measured.tolist(), strict=True)
        ]
        found.append([verdict.outcome for verdict in compare(compared, CNN)[0]])
    return found


DIFFERS = "`differs` where nothing does"

# Rates of 2,000 repeats have a standard error of 0.005 at 0.05.
for n in (1, 2, 3, 10):

    @claim(
        "Published value: `differs` where nothing does", f"{n} of the seeds, sd 0.14", "0.05", (0.035, 0.065)
    )
    def _(draw, n=n) -> float:
        return float(np.mean([each != ["within noise"] for each in outcomes(draw, n, 0.14, 0)]))


@claim(f"Published value: any of 16 {DIFFERS}", "2 seeds, sd 0.4", "0.05", (0.0, 0.1))
def _(draw) -> float:
    return float(np.mean(["differs" in each for each in outcomes(draw, 2, 0.4, 0, values=16)]))


for n, limit in ((2, 0.2), (3, 0.15), (10, 0.12)):

    @claim("Published value: a difference of 0.54 points is missed", f"{n} seeds, sd 0.14", "", (0.0, limit))
    def _(draw, n=n) -> float:
        return float(np.mean([each == ["within noise"] for each in outcomes(draw, n, 0.14, 0.54)]))


def table() -> str:
    """The claims as a Markdown table, with their simulated rates."""
    head = ["| what | case | nominal | simulated |", "|---|---|---|---|"]
    return "\n".join([*head, *(each.row(each.rate()) for each in CLAIMS)])


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
