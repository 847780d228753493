"""The running Python as a root file system of its own: an interpreter, its standard library, its shared libraries.

    /usr/local/bin/python3   /usr/local/lib/python3.11/   /usr/local/lib/libc.so.6 ...   /lib64/ld-linux-x86-64.so.2

Bubblewrap binds these files from where they lie; `gristmill sandbox build` packs them where no registry is reached. No
installed package, nothing of the host's configuration is among them.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path, PurePosixPath

from gristmill.errors import GristmillError

INTERPRETER = PurePosixPath("/usr/local/bin/python3")
LIBRARIES = PurePosixPath("/usr/local/lib")
STDLIB = LIBRARIES / f"python{sys.version_info.major}.{sys.version_info.minor}"
UNNEEDED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3",
            "ensurepip", "__pycache__"}  # fmt: skip

_NEEDS = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOADER = re.compile(r"/ld-[^/]+$")


def stdlib() -> Path:
    """Where the running Python's standard library lies."""
    return Path(sysconfig.get_path("stdlib"))


def interpreter() -> Path:
    """The real file of the running Python, behind the links of virtual environments."""
    return Path(sys.executable).resolve()


@cache
def libraries() -> dict[PurePosixPath, Path]:
    """Where each shared library goes, and where it lies here. The loader keeps its path: programs name it."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise GristmillError("the sandbox asks `ldd` for the libraries that Python needs, and finds none on the PATH.")
    modules = sorted(stdlib().glob("lib-dynload/*.so"))
    told = subprocess.run([ldd, interpreter(), *modules], capture_output=True, text=True, check=False)
    if told.returncode != 0 and "not found" not in told.stdout:
        raise GristmillError(f"the libraries of {interpreter()} can't be listed: {told.stderr.strip()[:200]}.")
    found = {}
    for path in map(Path, _NEEDS.findall(told.stdout)):
        at = PurePosixPath(path) if _LOADER.search(str(path)) else LIBRARIES / path.name
        found[at] = path.resolve()
    return dict(sorted(found.items()))
