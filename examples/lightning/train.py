"""A small network on the digits that scikit-learn ships, trained by Lightning."""

import argparse

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Network(lightning.LightningModule):
    def __init__(self, width, lr):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch, index):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.layers(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        self.log("val_accuracy", self.accuracy(batch))

    def test_step(self, batch, index):
        self.log("test_accuracy", self.accuracy(batch))

    def accuracy(self, batch):
        images, labels = batch
        return 100 * (self.layers(images).argmax(1) == labels).float().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.hparams.lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logs", default="logs")
    parser.add_argument("--checkpoints", default="checkpoints")
    args = parser.parse_args()

    lightning.seed_everything(args.seed)
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    data = TensorDataset(images.float() / 16, labels)
    train, val, test = (
        torch.utils.data.Subset(data, range(*part)) for part in [(1000,), (1000, 1200), (1200, 1797)]
    )

    network = Network(args.width, args.lr)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        logger=CSVLogger(args.logs, name="", version=""),
        callbacks=[ModelCheckpoint(args.checkpoints, save_last=True)],
        enable_progress_bar=False,
    )
    trainer.fit(
        network,
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(val, batch_size=200),
        ckpt_path="last",
    )
    trainer.test(network, DataLoader(test, batch_size=597))


if __name__ == "__main__":
    main()
