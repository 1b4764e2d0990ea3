"""Write config/schema.json, with which editors complete and check a config, from its model."""

import json
from pathlib import Path

from ablations.config.config import Config
from ablations.config.studies.study import Study
from ablations.files import write_text
from ablations.kinds import KINDS

SCHEMA = Path(__file__).parent.parent / "config" / "schema.json"


def schema() -> str:
    """The text that config/schema.json has to have.

    A study of an own kind is checked as far as every study is alike: the schema cannot know its kind.
    """
    found = Config.model_json_schema()
    own = Study.model_json_schema()
    found["$defs"] |= own.pop("$defs")
    is_shipped = {"properties": {"kind": {"enum": list(KINDS)}}}
    studies = found["properties"]["studies"]["patternProperties"]
    for pattern, shipped in studies.items():
        studies[pattern] = {"if": is_shipped, "then": shipped, "else": own}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(SCHEMA, schema())
