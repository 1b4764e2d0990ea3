"""Every rate that a table claims, simulated; docs/statistics.md lists the results."""

import re

import claims
import pytest

PAGE = claims.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: f"{claim.about}: {claim.case}")
def test_a_claim_holds_and_the_page_gives_its_rate(claim):
    rate = claim.rate()
    low, high = claim.limits
    assert low <= rate <= high
    row = re.escape(claim.row(0.0)).replace(re.escape("0.000 |"), r"(-?\d+\.\d+) \|")
    found = re.search(row, PAGE)
    assert found, "call `python tests/statistics/claims.py`"
    # Another processor may round otherwise.
    assert float(found[1]) == pytest.approx(rate, abs=0.002)


def test_the_page_lists_no_other_claim():
    rows = PAGE.split(claims.BEGIN)[1].split(claims.END)[0].strip().splitlines()
    assert len(rows) == 2 + len(claims.CLAIMS), "call `python tests/statistics/claims.py`"
