"""What is asked of the sandbox and what it answers."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas import Config, Data

SCRIPT = "main.py"

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]


class SandboxLimits(Config):
    """What one run may use: wall-clock seconds, memory of all its processes, bytes of output, processes and threads."""

    seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    memory_mb: Annotated[int, Field(ge=64, le=1024)] = 512
    output_kb: Annotated[int, Field(ge=1, le=4096)] = 256
    processes: Annotated[int, Field(ge=1, le=64)] = 32


class Snippet(Data):
    """A program and what it finds: `main.py` is started in a folder with `files`, by a fresh interpreter."""

    code: str
    files: dict[str, str] = {}
    stdin: str = ""
    limits: SandboxLimits = SandboxLimits()

    @model_validator(mode="after")
    def _can_be_laid_out(self) -> "Snippet":
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name or name == SCRIPT:
                raise ValueError(f"{name!r} is no name for a file of a snippet: a relative path is, besides {SCRIPT}")
        size = sum(map(len, (self.code, self.stdin, *self.files.values())))
        if size > 8 * 2**20:
            raise ValueError(f"the snippet, its files and its input have {size} characters; 8388608 are the most")
        return self


class Run(Data):
    """How a snippet ended.

    ok: exit code 0. error: another one, or minus the signal that ended it. timeout, memory, output: it went beyond a
    limit and was ended; the output is what there was until then. killed: its cell died with it, twice, so nothing is
    known. `engine` says where it ran; `seconds` differ from run to run, so they are no part of a record.
    """

    status: Status
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    engine: str

    def complaint(self) -> str:
        """The last line that it wrote to stderr: of a Python program, the exception."""
        return next((line for line in reversed(self.stderr.splitlines()) if line.strip()), "").strip()[:300]
