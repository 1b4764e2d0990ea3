"""Sections of a study: the layout of its table, what validation chooses, and published values."""

from typing import Annotated, Literal

from pydantic import Field

from ablations.config.sections import OneOrMore, PathText, Section

# What a cell shows of the spread of its seeds.
Spread = Literal["sd", "se", "ci95"]
# A level of each of some factors.
Levels = dict[str, bool | int | float | str]


class TableLayout(Section):
    """The layout of a study's table."""

    rows: Annotated[
        list[str],
        OneOrMore(),
        Field(description="what tells its rows apart; with `ablate`, all that changes by default"),
    ] = []
    columns: Annotated[
        list[str], OneOrMore(), Field(description="one column for each of its levels, or of those of several")
    ] = []
    values: Annotated[
        list[str], OneOrMore(), Field(description="metrics in its cells; the kind's first one by default")
    ] = []
    spread: Annotated[
        Spread,
        Field(
            description="behind a mean over seeds: their standard deviation, the error of the mean, or its "
            "95 % interval"
        ),
    ] = "sd"


class Choose(Section):
    """What a validation metric chooses: each row of the table then has the best point alone."""

    over: Annotated[
        list[str], OneOrMore(), Field(min_length=1, description="hyperparameters that are chosen")
    ]
    by: Annotated[str, Field(description="the metric that chooses them, such as val_accuracy")]


class PublishedFile(Section):
    """A file with published values to compare a study with."""

    file: PathText
    where: Annotated[Levels, Field(description="levels that the file leaves out: {dataset: mnist}")] = {}
