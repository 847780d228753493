"""The memory of a process while it lives."""

import subprocess
import time
from pathlib import Path


def peak_of(process: subprocess.Popen[bytes]) -> float:
    """The largest memory in MiB of a process that must end well, without the pages of files.

    It is read from /proc while the process lives: what `wait4` reports starts with the memory of its parent. How much
    of a library's file counts as resident depends on the kernel's page cache (24 MiB apart for the same files here).
    """
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(peak, int(status.split("RssAnon:")[1].split()[0]) if "RssAnon:" in status else 0)
        time.sleep(0.02)
    assert process.returncode == 0
    return peak / 1024
