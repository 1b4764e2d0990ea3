"""The versions of the code that made records: how many records each made, and which are outdated."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CodeVersion:
    """The code that made a record: a commit, and whether files differed from it (None: unknown).

    Without a commit, `workflow_version` tells versions apart; with one, it is empty.
    """

    commit: str | None
    modified: bool | None = None
    workflow_version: str = ""

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> "CodeVersion":
        """The version that the columns of a record name, as values or as text; older records have fewer."""
        commit = columns.get("code_commit") or None
        if commit is None:
            return cls(None, None, str(columns.get("workflow_version") or ""))
        modified = columns.get("code_modified")
        known = {True: True, False: False, "true": True, "false": False}
        return cls(str(commit), known.get(modified) if isinstance(modified, bool | str) else None)

    def is_outdated(self, present: "CodeVersion") -> bool:
        """Whether the code of a record differs from the present code, or may differ.

        Two modifications of one commit may differ from each other.
        """
        if present.commit is None and self.commit is None:
            return self != present
        return self.commit != present.commit or self.modified is not False or present.modified is not False


def count_versions(records: Iterable[Mapping[str, object]]) -> dict[CodeVersion, int]:
    """How many of the records each version made, the most frequent version first."""
    return dict(Counter(map(CodeVersion.of, records)).most_common())
