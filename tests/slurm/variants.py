"""Variants of the test cluster: SLURM's version, cgroups, accounting, and what preemption does to a job.

`CLUSTER_VARIANT` in the environment has the words in which a cluster differs from the default.
"""

import os
from dataclasses import dataclass

NEWER = "24.11"


@dataclass(frozen=True)
class Variant:
    """One combination; the default is what most tests were written on."""

    newer: bool = False
    cgroups: bool = False
    accounting: bool = True
    requeue: bool = True

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read `24.11 cgroups no-accounting cancel`, or some of these words."""
        words = set(text.split())
        if unknown := words - {NEWER, "cgroups", "no-accounting", "cancel"}:
            raise ValueError(f"CLUSTER_VARIANT: {', '.join(sorted(unknown))} is not a word of a variant")
        return cls(NEWER in words, "cgroups" in words, "no-accounting" not in words, "cancel" not in words)

    def __str__(self) -> str:
        words = {
            NEWER: self.newer,
            "cgroups": self.cgroups,
            "no-accounting": not self.accounting,
            "cancel": not self.requeue,
        }
        return " ".join(word for word, given in words.items() if given)


#: The one of this process.
VARIANT = Variant.parse(os.environ.get("CLUSTER_VARIANT", ""))
# Any two values of two factors meet in one of these: the smallest such set. The default comes first.
MATRIX = [
    Variant(),
    Variant.parse("cgroups no-accounting cancel"),
    Variant.parse("24.11 no-accounting cancel"),
    Variant.parse("24.11 cgroups cancel"),
    Variant.parse("24.11 cgroups no-accounting"),
]
