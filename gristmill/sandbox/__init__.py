"""Runs code that nobody has vouched for, where it can reach nothing: no network, no file, no other code.

Two engines make the same kind of cell, the stronger one of containers (docker.py), the weaker one of namespaces
(bubblewrap.py); without either, no code runs. `docs/sandbox.md` says what is kept in and how that is tested.
"""

from gristmill.sandbox.model import Run, SandboxLimits, Snippet
from gristmill.sandbox.solutions import SolutionReport
from gristmill.sandbox.task import TaskSandbox

__all__ = ["Run", "SandboxLimits", "Snippet", "SolutionReport", "TaskSandbox"]
