"""Text for people, whoever wrote it."""

import logging

import pytest
from ablations.readable import ReadableFormatter, as_field, as_line, readable
from payloads import FORMULAS, LATEX, PAGES, SECRETS, TERMINALS


@pytest.mark.parametrize("text", [*TERMINALS, *FORMULAS, *PAGES, *LATEX])
def test_text_for_people_prints_as_it_is(text):
    shown = readable(text)
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)
    assert shown == readable(shown)
    assert as_line(text).isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["résumé, 学習率, λ ≥ é", "two lines\n\tand a tab", "loss of 5 @ 3 GHz", "a 5 x", *PAGES, *LATEX]
)
def test_other_text_stays(text):
    assert readable(text) == text


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_not_shown(text):
    assert SECRETS[text] not in readable(text)
    assert "***" in readable(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/x@v1",
        "git+https://github.com/a/b@v1",
        "git@github.com:a/b.git",
        "max_tokens=4096 token_dim=3",
        "results/runs/k/none/none/token=5+seed=0/record.tsv",
        "the step: a@b",
        'train.py --token $TOKEN --password "$PASSWORD" --api-key={key}',
    ],
)
def test_what_is_no_secret_stays(text):
    assert readable(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_a_field_of_a_table_is_no_formula(text):
    field = as_field(text)
    assert field[0] not in "=+-@＝\t\r\n "
    assert as_field(field) == field


@pytest.mark.parametrize("text", ["-1", "+1.20", "-1e-05", "-inf", "×0.97", "±0.1", "kernel=rbf", ""])
def test_a_number_stays_a_number(text):
    assert as_field(text) == text


def test_a_log_holds_no_secret_and_no_sequence_for_terminals():
    record = logging.makeLogRecord({"msg": "at %s\x1b[2J", "args": ("http://me:s3cret@host",)})
    try:
        raise OSError("http://me:s3cret@host")
    except OSError as error:
        record.exc_info = (OSError, error, None)
    shown = ReadableFormatter(logging.Formatter("%(message)s")).format(record)
    assert shown.startswith("at http://***@host\n")
    assert "s3cret" not in shown


@pytest.mark.parametrize("part", ["a:", "://a:", "a:b@", "\x1b]", "token", "--token-", "authorization"])
def test_no_text_takes_long(part):
    """Without bounds, each of these would take hours."""
    readable(part * 10_000 + "@")
