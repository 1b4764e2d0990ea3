"""Questions: what a study declares, before its results, about the comparisons of its levels."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ablations.config.sections import OneOrMore, Section

# The test of paired differences.
Test = Literal["t", "wilcoxon", "permutation", "bootstrap"]
Margin = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# In place of a metric: the only one that the study analyses.
ONLY = ""


def _of_the_only(value: Any) -> Any:
    return value if isinstance(value, dict) else {ONLY: value}


class Questions(Section):
    """The keys of a study that say what its comparisons ask."""

    margin: Annotated[
        dict[str, Margin],
        Field(
            description="smaller differences do not matter: in the unit of the metric, of a time as a ratio "
            "above 1; with several metrics, a mapping: {test_accuracy: 0.2}"
        ),
        BeforeValidator(_of_the_only, json_schema_input_type=Margin | dict[str, Margin]),
    ] = {}
    primary: Annotated[
        list[str],
        OneOrMore(),
        Field(description="hyperparameters of interest, whose tests are corrected over these alone"),
    ] = []
    test: Annotated[
        Test, Field(description="the test of paired differences, in the effects and to a baseline")
    ] = "t"
