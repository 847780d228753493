"""Scale-out on Ray: the engine stays where it is and hands its jobs to workers on other processes and machines.

The driver (`cluster`) enumerates the tasks, counts the quota and the money, and owns the one ledger. A worker
(`worker`) has a runner and connections of its own; a call of its tasks goes on when the driver has committed it. So
records, resume and budget are those of a run in one process, however many workers there are and whichever die.
"""

from gristmill.scaleout.cluster import Cluster

__all__ = ["Cluster"]
