"""Effects at levels of others and on datasets, each as in a study of this level alone; and normality."""

import numpy as np
import pytest
from ablations.analysis.effects import Pairing, effects
from ablations.analysis.inference import holm
from ablations.analysis.normality import normality
from ablations.analysis.paired import compare_pairs
from ablations.analysis.simple_effects import Replication, replications, simple_effects
from ablations.config.studies.study import parse_study
from ablations.presentation.effects_table import effects_table
from scipy import stats
from test_design import study_of
from test_effects import noise, records_of, row
from test_tables import all_records
from test_tables import study as published_study

SEEDS = range(5)
DATASETS = ["digits", "mnist", "kmnist"]


def crossed(run) -> float:
    """The batch size matters with a learning rate of 0.1 alone."""
    return 90 + 2 * (run.value("batch_size") == 16) * (run.value("lr") == 0.1) + noise(run, 0.2)


def effect_of(study, records, factor: str):
    [found] = [each for each in effects(study, records, "test_accuracy") if each.factor == factor]
    return found


def test_a_simple_effect_is_that_of_a_study_of_this_level_alone():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=SEEDS)
    records = records_of(study, crossed)
    pairing = Pairing(study, records, "test_accuracy")
    found = list(effects(study, records, "test_accuracy"))
    simple = simple_effects(pairing, found, {"batch_size": ["lr"], "lr": ["batch_size"]})
    assert list(simple) == [("batch_size", 16, 32, "lr"), ("lr", 0.1, 0.2, "batch_size")]
    ps = []
    for lr, each in zip((0.1, 0.2), simple["batch_size", 16, 32, "lr"], strict=True):
        alone = study_of({"batch_size": [16, 32], "lr": lr}, seeds=SEEDS)
        expected = effect_of(alone, records, "batch_size").comparison
        assert (each.level, each.comparison.difference) == (lr, expected.difference)
        assert each.comparison.interval == expected.interval
        ps.append(expected.p)
    ps += [each.comparison.p for each in simple["lr", 0.1, 0.2, "batch_size"]]
    assert [each.p for of in simple.values() for each in of] == holm(ps)


def test_a_note_says_with_which_level_an_effect_is_found():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=SEEDS)
    notes = effects_table("it", study, records_of(study, crossed)).notes
    [batch] = [note for note in notes if note.startswith("Batch size 16 → 32 is significant")]
    assert "is significant for learning rate 0.1 (−1.9" in batch
    assert "and is not significant for learning rate 0.2 (−0.1" in batch
    assert any("over 4 tests, for these test images" in note for note in notes)
    alike = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 0.2))).notes
    assert not any("single levels" in note for note in alike)


def test_a_table_without_questions_or_datasets_has_the_usual_columns():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=SEEDS)
    usual = {"p of equivalence", "Datasets"}.isdisjoint
    assert usual(effects_table("it", study, {}).display)
    assert usual(effects_table("it", study, records_of(study, crossed)).display)


def test_what_is_not_judged_by_seeds_has_no_simple_effects():
    part_b = published_study("part_b")
    pairing = Pairing(part_b, all_records(part_b), "test_accuracy")
    found = list(effects(part_b, all_records(part_b), "test_accuracy"))
    assert "seeds" not in {each.comparison.noise for each in found}
    assert simple_effects(pairing, found, {"kernel": ["dataset"]}) == {}


def test_many_simple_effects_are_not_spelt_out():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2, 0.3, 0.4, 0.5]}, seeds=SEEDS)
    table = effects_table("it", study, records_of(study, crossed))
    assert sum(" for learning rate " in note or " for batch size " in note for note in table.notes) == 6
    assert any(note.endswith("5 more effects are not spelt out.") for note in table.notes)


def on_some(run) -> float:
    """A batch size of 32 is better on all datasets but the digits."""
    better = (run.value("batch_size") == 32) * (run.dataset != "digits")
    return 80 + better - 10 * (run.dataset == "mnist") + noise(run, 0.1)


def test_an_effect_replicates_on_the_datasets_that_show_it_alone():
    grid = {"batch_size": [16, 32], "optimizer": ["sgd", "adam"]}
    study = study_of({**grid, "dataset": DATASETS}, seeds=SEEDS)
    records = records_of(study, on_some)
    alone = [
        effect_of(study_of({**grid, "dataset": d}, seeds=SEEDS), records, "batch_size") for d in DATASETS
    ]
    clear = sum(p < 0.05 for p in holm([each.comparison.p for each in alone]))
    same = sum(each.comparison.difference > 0 for each in alone)
    found = list(effects(study, records, "test_accuracy"))
    of_batch = dict(
        zip(
            [each.factor for each in found],
            replications(Pairing(study, records, "test_accuracy"), found),
            strict=True,
        )
    )
    assert of_batch["batch_size"] == Replication(3, same, clear, 5) == Replication(3, same, 2, 5)
    assert of_batch["dataset"] is None
    table = effects_table("it", study, records)
    assert (row(table, "batch_size")["datasets"], row(table, "batch_size")["datasets_clear"]) == ("3", "2")
    assert table.display["Datasets"].tolist() == ["", "", "", "2 of 3", "0 of 3"]
    assert not any("can be significant there" in note for note in table.notes)
    by_ranks = parse_study({**study.written, "test": "wilcoxon"})
    notes = effects_table("it", by_ranks, records).notes
    assert any("no difference can be significant there" in note for note in notes)


@pytest.mark.parametrize("datasets", [["digits"], ["digits", "mnist"]])
def test_fewer_than_three_datasets_count_no_replication(datasets):
    study = study_of({"batch_size": [16, 32], "dataset": datasets}, seeds=SEEDS)
    table = effects_table("it", study, records_of(study, on_some))
    assert "datasets" not in table.data
    assert "Datasets" not in table.display


def compared(values):
    return compare_pairs([dict(enumerate(map(float, values)))], sized=False)


def test_normality_is_judged_by_scipys_test():
    draw = np.random.default_rng(0)
    samples = [draw.normal(size=6), draw.exponential(size=12) ** 2, draw.normal(size=4)]
    ps = [stats.shapiro(values).pvalue for values in samples[:2]]
    *found, of_few = normality([compared(values) for values in samples])
    assert found == pytest.approx(holm(ps))
    assert of_few is None


def test_seeds_of_unequal_weight_are_not_judged():
    uneven = compare_pairs([dict(enumerate(np.arange(6.0) ** 2)), {0: 1.0, 1: 3.0}], sized=False)
    assert normality([uneven, None]) == [None, None]


@pytest.mark.parametrize(("seeds", "needs"), [(5, ", and needs 7 units"), (8, "")])
def test_a_collapsed_seed_is_a_doubt_with_an_alternative(seeds, needs):
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=range(seeds))

    def collapsed(run) -> float:
        return 90 - 20 * (run.value("seed") == 3 and run.value("batch_size") == 16) + noise(run, 0.1)

    notes = effects_table("it", study, records_of(study, collapsed)).notes
    [doubt] = [note for note in notes if "Shapiro" in note]
    assert "not normal: Batch size 16 → 32 (p " in doubt
    assert f"'test: permutation' assumes only that they are symmetric{needs};" in doubt
