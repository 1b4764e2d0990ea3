"""Command lines: what the commands of rules hold as it is."""

import subprocess

import pytest
from ablations.command_line import literal


@pytest.mark.parametrize(
    "text", ["plain", "", "two words", "{wildcards.x} {{}}", "it's $HOME; `id` \"\\", "é\n*"]
)
def test_a_text_reaches_a_command_as_it_is(text):
    command = f"printf %s {literal(text)}".format()  # as Snakemake formats it
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout == text
