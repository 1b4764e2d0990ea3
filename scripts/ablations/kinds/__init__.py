"""What differs between kinds of run: hyperparameters, metrics, record, rule, threads, and the like.

Only this folder knows kinds by name. It imports no other folder of the library.
"""

from ablations.kinds.cnn import CNN
from ablations.kinds.kind import Kind
from ablations.kinds.svm import SVM

__all__ = ["KINDS", "Kind"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CNN, SVM)}
