"""Write config/schema.json, with which editors complete and check a config, from its model."""

import json
from pathlib import Path

from ablations.config.config import Config
from ablations.files import write_text

SCHEMA = Path(__file__).parent.parent / "config" / "schema.json"


def schema() -> str:
    """The text that config/schema.json has to have."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(SCHEMA, schema())
