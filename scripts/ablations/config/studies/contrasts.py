"""Contrasts: the main effect of a factor as orthonormal columns, for the algebra of designs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def contrasts(values: Sequence[Any], levels: Sequence[Any]) -> np.ndarray:
    """Orthonormal contrasts of the levels of a factor at each value, of shape (values, levels - 1)."""
    count = len(levels)
    basis = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, 1:]]))[0][:, 1:] * math.sqrt(count)
    place = {level: number for number, level in enumerate(levels)}
    return basis[[place[value] for value in values]]
