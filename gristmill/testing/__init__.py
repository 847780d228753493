"""For tests of pipelines: a scripted model, a server with faults, and the contract that every generator keeps."""

from gristmill.testing.contract import check_generator
from gristmill.testing.scripted import ScriptedModel, example_of, run_scripted
from gristmill.testing.server import Dialect, Faults, FaultServer

__all__ = ["Dialect", "FaultServer", "Faults", "ScriptedModel", "check_generator", "example_of", "run_scripted"]
