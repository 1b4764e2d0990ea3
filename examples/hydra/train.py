"""A linear classifier on the digits that scikit-learn ships, configured by Hydra."""

import json
import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from sklearn.datasets import load_digits

log = logging.getLogger(__name__)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    images, labels = load_digits(return_X_y=True)
    model = instantiate(config.model, random_state=config.seed)
    model.fit(images[:1200] / 16, labels[:1200])
    accuracy = 100 * model.score(images[1200:] / 16, labels[1200:])
    log.info("accuracy %.2f", accuracy)
    output = Path(HydraConfig.get().runtime.output_dir)
    (output / "results.json").write_text(json.dumps({"test": {"accuracy": accuracy}}))


if __name__ == "__main__":
    main()
