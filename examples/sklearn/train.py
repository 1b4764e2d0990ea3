"""A random forest on the digits that scikit-learn ships."""

import argparse
import json

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--depth", type=int, default=10)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

images, labels = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=0.5, random_state=0)
forest = RandomForestClassifier(args.trees, max_depth=args.depth, random_state=args.seed)
forest.fit(x_train, y_train)
print(json.dumps({"accuracy": 100 * forest.score(x_test, y_test)}))
