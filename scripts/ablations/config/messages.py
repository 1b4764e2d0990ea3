"""Pydantic's errors as sentences: the key, the value found, what is allowed, the nearest spelling."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from ablations.config.sections import show
from ablations.errors import nearest
from ablations.kinds import KINDS

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
}


def sentences(error: ValidationError, data: Any, most: int) -> list[str]:
    """One sentence for each place, and for no more than `most`; the branches of a union are one place."""
    by_place: dict[str, list[Any]] = {}
    for problem in error.errors(include_url=False):
        place, value = _place(problem["loc"], data, problem["type"])
        by_place.setdefault(place, []).append((problem, value))
    own = data.get("kinds") if isinstance(data, Mapping) else None
    kinds = [*KINDS, *(own if isinstance(own, Mapping) else ())]
    # Each looks for the nearest spelling, which takes time.
    return [_sentence(place, found, kinds) for place, found in islice(by_place.items(), most)]


def _place(loc: Sequence[Any], data: Any, kind: str) -> tuple[str, Any]:
    """The key as the user wrote it, and what it holds; Pydantic's own markers are left out."""
    place = ""
    for i, step in enumerate(loc):
        if isinstance(data, Mapping) and step in data:
            place += f".{step}"
            data = data[step]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            place += f"[{step}]"
            data = data[step]
        elif kind == "missing" and i == len(loc) - 1:
            place += f".{step}"
        elif step == "[key]":
            data = loc[i - 1]
    return place.lstrip("."), data


def _sentence(place: str, problems: Sequence[tuple[Any, Any]], kinds: Sequence[str]) -> str:
    problem, value = problems[0]
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "unknown_key":
        where = f"{place}.{context['key']}" if place else context["key"]
        return f"{where}: {problem['msg']}"
    if kind == "missing":
        return f"{place}: it is missing"
    if kind == "union_tag_not_found":
        return f"{place}.kind: it is missing; a study is of kind {' or '.join(map(str, kinds))}"
    if kind == "value_error":
        return f"{place}: it holds {show(value)}; {context['error']}"
    if kind == "too_long" and place.endswith(".seeds"):
        return f"{place}: nothing is random in these runs, and the study has no seeds; leave it out"
    if kind == "union_tag_invalid":
        place, value = f"{place}.kind", context["tag"]
    expected = []
    for each, _ in problems:
        known = _EXPECTED.get(each["type"])
        phrase = known.format(**each.get("ctx", {})) if known else each["msg"]
        if phrase not in expected:
            expected.append(phrase)
    choices = re.findall(r"'([^']*)'", " ".join(expected))
    advice = nearest(value, choices)
    if "text" in expected and isinstance(value, bool | int | float):
        advice += "; if it is text, put it in quotes as it is to be"
    return f"{place}: it holds {show(value)}; it may hold {' or '.join(expected)}{advice}"
