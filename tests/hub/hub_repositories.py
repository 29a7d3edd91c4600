"""What the double of the Hub keeps: repositories with branches and commits, and the large files that were uploaded."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

MAIN = "main"


@dataclass(frozen=True)
class Blob:
    """A file's bytes, and whether they were uploaded as a large file."""

    content: bytes
    large: bool

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_oid

    def described(self, path: str) -> dict:
        """As `tree` and `paths-info` tell it."""
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.git_oid}
        if self.large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    """The files of a repository after a commit, by path."""

    sha: str
    message: str
    files: dict[str, Blob]
    date: str


@dataclass
class Repository:
    """
    One repository.

    Attributes:
        kind: `"model"` or `"dataset"`.
        name: `OWNER/NAME`.
        commits: all, by their hash, oldest first.
        branches: hash of the last commit of each.
    """

    kind: str
    name: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        # As the Hub begins a repository.
        self.commit(MAIN, "initial commit", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)})

    def commit(self, branch: str, message: str, files: dict[str, Blob]) -> Commit:
        """Makes `files` all that is on a branch."""
        # Never the same again: clients keep what they have downloaded by the hash of its commit.
        sha = secrets.token_hex(20)
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits[sha] = Commit(sha, message, files, date)
        self.branches[branch] = sha
        return self.commits[sha]

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch, a hash or the beginning of one stands for."""
        if revision in self.branches:
            return self.commits[self.branches[revision]]
        return next((commit for sha, commit in self.commits.items() if sha.startswith(revision)), None)

    def files(self, revision: str = MAIN) -> dict[str, bytes]:
        """Bytes of all files, without what the Hub itself puts into every repository."""
        held = self.at(revision).files
        return {path: blob.content for path, blob in held.items() if path != ".gitattributes"}

    def messages(self) -> list[str]:
        """Those of all commits, on all branches; the first is the Hub's own."""
        return [commit.message for commit in self.commits.values()]
