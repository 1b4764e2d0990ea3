"""The versions of the code that made records: how many records each made, and which are outdated."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CodeVersion:
    """The code that made a record: a commit, and whether files differed from it (None: unknown).

    Without a commit, `workflow_version` tells versions apart. A `digest` of the code's own files does so
    better than both. What does not tell versions apart is empty.
    """

    commit: str | None
    modified: bool | None = None
    workflow_version: str = ""
    digest: str = ""

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> "CodeVersion":
        """The version that the columns of a record name, as values or as text; older records have fewer."""
        if digest := columns.get("code_digest"):
            return cls(None, digest=str(digest))
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
        if present.digest or (present.commit is None and self.commit is None):
            return self != present
        return self.commit != present.commit or self.modified is not False or present.modified is not False


def count_versions(records: Iterable[Mapping[str, object]]) -> dict[CodeVersion, int]:
    """How many of the records each version made, the most frequent version first."""
    return dict(Counter(map(CodeVersion.of, records)).most_common())
