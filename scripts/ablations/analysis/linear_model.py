"""Linear models: effects between runs of which no two differ in one hyperparameter alone."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import partial

import numpy as np

from ablations.analysis.distributions import t_sf
from ablations.analysis.inference import ROUNDING, Comparison, student_interval

# Tolerance for the rank of a model matrix.
RANK = 1e-6


class LinearModel:
    """A linear model of `values`, by ordinary least squares.

    `rows` is the model matrix, of shape (values, coefficients), which need not have full rank. `seeds` are
    those of the values. If there are several, and each has every point, the units are the seeds, as in
    `compare_pairs`. Otherwise the noise is that of the residuals, where values with the same label in
    `alike` (duplicate runs) have the same residual.
    """

    def __init__(
        self,
        rows: np.ndarray,
        values: np.ndarray,
        seeds: Sequence[Hashable] | None = None,
        alike: Sequence[Hashable] | None = None,
    ) -> None:
        # statsmodels' OLS gives the same p-values, but an answer to contrasts that the rows do not determine,
        # and no degrees of freedom for duplicates.
        self._inverse = np.linalg.pinv(rows)
        self.coefficients = self._inverse @ values
        self._known = self._inverse @ rows  # projects onto the contrasts that the rows determine
        self._residuals = values - rows @ self.coefficients
        self.seeds = len(set(seeds or ())) if _each_everywhere(rows, seeds or ()) else 1
        labels = seeds if self.seeds > 1 else alike
        labels = range(len(rows)) if labels is None else labels
        places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        self._labels = np.array([places[label] for label in labels])
        self.units, self.df, self.sd = len(places), 0.0, 0.0
        if self.seeds > 1:
            self.df = self.seeds - 1.0
            return
        # Residual degrees of freedom from the traces of Z'(1 - H)Z and of its square, for labels Z of shape
        # (values, units): values minus rank without duplicates, Satterthwaite's (1946) with duplicates.
        count = self._by_label(np.ones(len(rows)))
        of_rows = np.array([self._by_label(column) for column in rows.T])
        of_inverse = np.array([self._by_label(row) for row in self._inverse])
        hat = of_inverse @ of_rows.T
        free = len(rows) - float(np.trace(hat))
        spread = float(np.sum(count**2) - 2 * np.sum(count * of_rows * of_inverse) + np.sum(hat * hat.T))
        if free > RANK:
            self.df = free**2 / spread
            self.sd = math.sqrt(float(np.sum(self._residuals**2)) / free)

    def _by_label(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._labels, values, self.units)

    def compare(self, contrast: np.ndarray) -> Comparison | None:
        """The difference given by this combination of coefficients.

        None if the values do not determine it, or if no residual degrees of freedom are left.
        """
        if not self.df or not np.allclose(contrast @ self._known, contrast, atol=RANK):
            return None
        difference = float(contrast @ self.coefficients)
        weights = contrast @ self._inverse
        if self.seeds > 1:
            shares = self._by_label(weights * self._residuals)
            error = math.sqrt(self.seeds / (self.seeds - 1) * float(np.sum(shares**2)))
        else:
            error = self.sd * math.sqrt(float(np.sum(self._by_label(weights) ** 2)))
        found = partial(Comparison, 0, self.units, "model", difference, by_seeds=self.seeds > 1)
        if error <= ROUNDING:
            return found(None, None)
        p = 2 * t_sf(abs(difference) / error, self.df)
        found = partial(found, error=error, df=self.df)
        if self.seeds > 1:
            found = partial(found, values=tuple((difference + self.seeds * shares).tolist()))
        return found(student_interval(difference, error, self.df), p)


def _each_everywhere(rows: np.ndarray, seeds: Sequence[Hashable]) -> bool:
    """Whether each seed has the same rows, equally often."""
    of_seeds: dict[Hashable, list[tuple[float, ...]]] = defaultdict(list)
    for row, seed in zip(rows.tolist(), seeds, strict=False):
        of_seeds[seed].append(tuple(row))
    found = [sorted(of_seed) for of_seed in of_seeds.values()]
    return all(each == found[0] for each in found)
