"""A small network on the digits that scikit-learn ships, with a checkpoint that it resumes from."""

import argparse
import json
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
parser.add_argument("--history", type=Path, default=Path("history.jsonl"))
parser.add_argument("--metrics", type=Path, default=Path("metrics.json"))
parser.add_argument("--items", type=Path, default=Path("items.npy"))
args = parser.parse_args()

told_to_stop = False


def stop(*_):
    global told_to_stop
    told_to_stop = True


signal.signal(signal.SIGTERM, stop)

images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
images = images.float() / 16
x_train, y_train, x_test, y_test = images[:1200], labels[:1200], images[1200:], labels[1200:]

torch.manual_seed(args.seed)
model = nn.Sequential(
    nn.Linear(64, args.width), nn.ReLU(), nn.Dropout(args.dropout), nn.Linear(args.width, 10)
)
optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9)


def save(epoch):
    """Write the checkpoint under another name first: it is never half written."""
    state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "random": torch.get_rng_state()}, args.checkpoints / "new.pt")
    (args.checkpoints / "new.pt").replace(checkpoint)


args.checkpoints.mkdir(parents=True, exist_ok=True)
checkpoint = args.checkpoints / "last.pt"
first = 1
if checkpoint.exists():
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    first = state["epoch"] + 1
    print(f"resuming after epoch {state['epoch']}")

for epoch in range(first, args.epochs + 1):
    model.train()
    for batch in torch.randperm(len(x_train)).split(32):
        loss = nn.functional.cross_entropy(model(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(x_test)
    correct = logits.argmax(1) == y_test
    result = {
        "accuracy": 100 * correct.double().mean().item(),
        "loss": nn.functional.cross_entropy(logits, y_test).item(),
    }
    with args.history.open("a") as file:
        print(json.dumps({"epoch": epoch, **result}), file=file)
    if told_to_stop or epoch % 10 == 0:
        save(epoch)
    if told_to_stop:
        sys.exit(f"stopped after epoch {epoch}")

args.metrics.write_text(json.dumps(result))
np.save(args.items, correct.numpy())
