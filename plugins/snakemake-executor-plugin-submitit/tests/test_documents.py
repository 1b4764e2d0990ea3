"""What the documents of the plugin name is there, and what is there is named."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

ROOT = Path(__file__).parents[1]
SETTINGS = {field.name.replace("_", "-") for field in fields(ExecutorSettings)}
PAGES = ["README.md", "docs/intro.md", "docs/further.md"]


def test_the_readme_has_a_row_for_each_setting():
    table = (ROOT / "README.md").read_text().partition("\n## Settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.M)) == SETTINGS


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_settings_that_exist(page):
    assert set(re.findall(r"submitit-([a-z-]+[a-z])(?=[:` \n])", (ROOT / page).read_text())) <= SETTINGS


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_each_dependency_has_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in [*project["dependencies"], project["requires-python"]]:
        assert "<" in requirement, requirement
