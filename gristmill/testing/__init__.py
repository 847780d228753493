"""For tests of pipelines and judges: a scripted model, a server with faults, the contract that generators keep."""

from gristmill.testing.contract import check_generator
from gristmill.testing.judged import Judged, judge_scripted
from gristmill.testing.scripted import ScriptedModel, example_of, run_scripted
from gristmill.testing.server import Faults, FaultServer

__all__ = [
    "FaultServer",
    "Faults",
    "Judged",
    "ScriptedModel",
    "check_generator",
    "example_of",
    "judge_scripted",
    "run_scripted",
]
