"""Parts of grids in words: how a study's points were drawn or chosen, and what that is worth."""

from ablations.analysis.model_matrix import Continuous, varying_levels
from ablations.config.studies.fractions import efficiency
from ablations.config.studies.grids import count_points
from ablations.config.studies.study import Study


def part_in_words(study: Study) -> list[str]:
    """How the points of a study were taken from its grid; nothing where it has all of them."""
    levels = varying_levels(study)
    if study.sample:
        words = [
            f"drawn from a Sobol sequence with seed {study.sample.seed}; a larger sample begins with these"
        ]
        if lines := [name for name, found in levels.items() if isinstance(found, Continuous)]:
            words.append(f"the effect of a range is that of a straight line: {', '.join(lines)}")
        return words
    if not study.fraction:
        return []
    pairs = [(one, other) for one, other in study.fraction.interactions]
    kept = " and ".join(["all main effects", *(f"{one} × {other}" for one, other in pairs)])
    worth = efficiency([point.levels for point in study.part], levels, pairs)
    how = (
        "an orthogonal array"
        if worth > 1 - 1e-6
        else (f"chosen by a D-optimal exchange, with {100 * worth:.0f} % of an orthogonal array's efficiency")
    )
    points = f"{len(study.part)} of the {count_points(study.grid, ())} points of the grid"
    return [f"{points}, which keep {kept} apart: {how}"]
