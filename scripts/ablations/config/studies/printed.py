"""Numbers as papers print them: with a sign of percent, a spread, thin spaces, or a word for none."""

import re
import unicodedata
from dataclasses import dataclass

from ablations.kinds.metrics import Metric

# What a cell holds where nothing was reported, in lower case and without points and blanks.
NOT_REPORTED = {
    "", "-", "--", "---", "–", "—", "−", "/", "?", "…", "na", "n/a", "nan", "nr", "n/r", "none", "null",
    "nil", "notreported", "notavailable", "notapplicable", "unreported", "unknown", "missing", "tbd", "tba",
}  # fmt: skip
# Of a number, in characters; and exponents whose digits no table has.
LONGEST, SMALL = 40, re.compile(r"e-0*[1-9][0-9]{2}")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_SPREAD = re.compile(r"\s*(?:±|\+/-|\+-|\\pm)\s*")
# Groups of three digits, apart by a blank; unicodedata turns the thin ones into plain ones.
_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?: \d{3})+(?!\d)", re.ASCII)


@dataclass(frozen=True)
class Printed:
    """A number, and the spread behind `±`: both as digits that `float` reads, with the digits as printed."""

    number: str
    spread: str = ""


def read_printed(text: str, metric: Metric) -> Printed | None:
    """The number that `text` prints for a metric in the unit of tables; None where it reports none.

    Raises ValueError, with what is wrong, for any other text, and for a number that the metric cannot have.
    """
    plain = unicodedata.normalize("NFKC", text).replace("−", "-").replace(r"\%", "%").strip().strip("$")
    if re.sub(r"[\s.]", "", plain.lower()) in NOT_REPORTED:
        return None
    plain = _GROUPS.sub(lambda match: match[0].replace(" ", ""), plain)
    number, *spread = (_without_unit(part, metric.unit) for part in _SPREAD.split(plain))
    if len(spread) > 1 or any(not _NUMBER.fullmatch(part) for part in (number, *spread)):
        raise ValueError(f"'{text}' is not a number{_advice(plain, metric)}")
    if max(len(number), len(spread[0]) if spread else 0) > LONGEST or SMALL.search(number.lower()):
        raise ValueError(f"'{text}' has too many digits for a number that was printed")
    value = float(number)
    if abs(value) == float("inf"):
        raise ValueError(f"'{text}' is too large for a number")
    if re.fullmatch(r"[-+]?\d+e\+?0*[1-9]\d*", number.lower()):
        raise ValueError(
            f"'{text}' does not show which digits were printed: write {value:.0f}, or decimals before the e"
        )
    if objection := metric.objection(value):
        raise ValueError(f"'{text}' is not possible; {objection}")
    return Printed(number, spread[0] if spread else "")


def _without_unit(part: str, unit: str) -> str:
    return part.strip().removesuffix(unit).strip() if unit else part.strip()


def _advice(plain: str, metric: Metric) -> str:
    if "," in plain:
        return "; write a point before decimals, and nothing between thousands"
    if "%" in plain:
        return f"; {metric.label} is not in percent"
    if re.search(r"\(.*\)", plain):
        return "; write a spread as '83.33 ± 0.12'"
    return "; leave the cell empty if no value was reported"
