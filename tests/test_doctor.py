"""`gristmill doctor`: one marked line per part, remedies for what is absent, names of keys but never their values."""

import sys
from pathlib import Path

import pytest
import yaml

from gristmill import machine
from gristmill.errors import ConfigError
from gristmill.llm import pool
from gristmill.probe import Probe, probe_config
from gristmill.testing import FaultServer
from tests.conftest import CLI


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def lines_by_name(output: str) -> dict[str, str]:
    return {line[8:28].strip(): line for line in output.splitlines()}


def test_keys_by_name_only(cli: CLI) -> None:
    secret = "sk-planted-7f3a"
    keys = {"OPENAI_API_KEY": secret, "HF_TOKEN": secret, "MY_LAB_API_KEY": secret, "EMPTY_API_KEY": ""}
    done = cli("doctor", env={**keys, "NOT_A_KEY_AT_ALL": secret})
    assert done.returncode == 0
    assert secret not in done.stdout + done.stderr
    shown = lines_by_name(done.stdout)["API keys"]
    assert shown.startswith("ok")
    assert "HF_TOKEN, MY_LAB_API_KEY, OPENAI_API_KEY" in shown
    assert "EMPTY" not in shown and "NOT_A" not in shown


def test_a_bare_machine_gets_a_remedy_for_each_part(cli: CLI, tmp_path: Path) -> None:
    done = cli("doctor", env={"PATH": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert done.returncode == 0
    lines = lines_by_name(done.stdout)
    assert lines["Code sandbox"].startswith("absent ")
    assert "no code can be run: " in lines["Code sandbox"]
    for name, remedy in {"Docker": "docker.io", "Bubblewrap": "bubblewrap", "Chromium": "chromium"}.items():
        assert lines[name].startswith("absent ")
        assert f"; fix: apt-get install {remedy}" in lines[name]
    for name in ("Python", "Cores", "Memory", "This folder", "Cache"):
        assert lines[name].startswith("ok ")
    assert {line.split()[0] for line in lines.values()} <= {"ok", "absent", "wrong"}


def test_what_is_installed_is_shown_with_its_version(cli: CLI, tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo 27.5.1")
    program(tmp_path, "initdb", "echo 'initdb (PostgreSQL) 17.2'")
    program(tmp_path, "mariadbd", "echo 'mariadbd Ver 11.4.5'")
    program(tmp_path, "bwrap", '[ "$1" = --version ] && echo bubblewrap 0.11 || echo inside')
    program(tmp_path, "nvidia-smi", "echo 'NVIDIA H100, 81559 MiB'")
    program(tmp_path, "chromium", "echo")
    lines = lines_by_name(cli("doctor", env={"PATH": str(tmp_path)}).stdout)
    assert "NVIDIA H100, 81559 MiB" in lines["GPU"]
    assert lines["Docker"].endswith("daemon 27.5.1")
    assert f"initdb (PostgreSQL) 17.2, {tmp_path}" in lines["PostgreSQL"]
    for name in ("Docker", "PostgreSQL", "MySQL/MariaDB", "Bubblewrap", "Chromium"):
        assert lines[name].startswith("ok "), lines[name]


@pytest.mark.parametrize("script", ["echo 'Cannot connect to the Docker daemon' >&2; exit 1", "exec sleep 30"])
def test_a_docker_that_fails_or_hangs_is_absent(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(machine, "_PATIENCE", 0.5)
    [finding] = machine._docker()
    assert (finding.mark, finding.detail) == ("absent", "installed, but no daemon answers")
    assert "docker" in finding.fix


def test_a_docker_for_others_says_how_to_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", "echo 'permission denied while trying to connect' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    [finding] = machine._docker()
    assert finding.fix == "sudo usermod -aG docker $USER"


def test_a_sandbox_that_cannot_start_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "bwrap", '[ "$1" = --version ] && echo bubblewrap 0.11 || exit 1')
    monkeypatch.setenv("PATH", str(tmp_path))
    switch = tmp_path / "switch"
    monkeypatch.setattr(machine, "_NO_NAMESPACES", {switch: ("0", "kernel.some=1")})
    [finding] = machine._bubblewrap()
    assert (finding.mark, finding.fix) == ("absent", "")
    switch.write_text("1\n")
    assert machine._bubblewrap() == [finding]
    switch.write_text("0\n")
    assert machine._bubblewrap()[0].fix == "sudo sysctl -w kernel.some=1"


def test_the_newest_postgres_in_debians_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for release in ("9.6", "15", "17"):
        program(tmp_path / "postgresql" / release / "bin", "initdb", f"echo 'initdb (PostgreSQL) {release}'")
    monkeypatch.setattr(machine, "_DEBIAN_POSTGRES", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine._postgres() == [
        ("ok", "PostgreSQL", f"initdb (PostgreSQL) 17, {tmp_path / 'postgresql' / '17' / 'bin'}", "")
    ]


def test_a_half_installed_extra_names_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_installed", lambda package: "" if package == "torch" else "1.0")
    findings = {finding.name: finding for finding in machine._extras()}
    assert findings["Extra sft"] == ("absent", "Extra sft", "without torch", "pip install 'gristmill[sft]'")
    assert findings["Extra openai"] == ("ok", "Extra openai", "openai 1.0", "")
    assert "Extra dev" not in findings


@pytest.mark.parametrize(
    ("cuda", "mark", "said"),
    [
        ("12.8\n2", "ok", "torch 2.13.0+cu128 with CUDA 12.8 sees 2"),
        ("12.8\n0", "wrong", "sees none: the driver is too old for it, or CUDA_VISIBLE_DEVICES hides them"),
        ("", "wrong", "but torch 2.13.0+cu128 has no CUDA"),
    ],
)
def test_a_card_that_torch_can_use_or_not(
    cuda: str, mark: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "nvidia-smi", "echo 'NVIDIA H100, 81559 MiB'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(sys, "executable", str(program(tmp_path, "python", f"printf '{cuda}'")))
    monkeypatch.setattr(machine, "_installed", lambda package: "2.13.0+cu128")
    [finding] = machine._gpu()
    assert finding.mark == mark and said in finding.detail
    assert bool(finding.fix) == (mark == "wrong")


def test_a_little_disk_and_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LEAST_FREE", 10**9)
    monkeypatch.setenv("GRISTMILL_CACHE", "/proc/none")
    found = {finding.name: finding for finding in machine._folders()}
    assert (found["Disk"].mark, found["Disk"].fix) == ("wrong", "df -h")
    assert found["Cache"].mark == "wrong" and found["Cache"].fix.startswith("export GRISTMILL_CACHE=")


# Endpoints


def config_of(folder: Path, **models: object) -> Path:
    (folder / "any.yaml").write_text(yaml.safe_dump({"models": models}))
    return folder / "any.yaml"


async def only(path: Path, *overrides: str) -> Probe:
    [probe] = await probe_config(path, list(overrides))
    return probe


async def test_an_endpoint_is_asked_for_one_token(tmp_path: Path) -> None:
    with FaultServer() as server:
        path = config_of(tmp_path, writer={"endpoint": server.url, "model": "m", "max_tokens": 5000})
        (finding, status) = await only(path)
        assert (finding.mark, finding.name, status, server.requests) == ("ok", "models.writer", 0, 1)
        assert f"{server.url} answers as m in " in finding.detail
        path = config_of(tmp_path, embedder={"endpoint": [server.url, server.url], "model": "e"})
        assert [probe.finding.mark for probe in await probe_config(path, [])] == ["ok", "ok"]


async def test_what_is_wrong_is_said_as_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_SECONDS", 0.0)
    path = config_of(tmp_path, writer={"endpoint": "http://127.0.0.1:9/v1", "model": "m"})
    (finding, status) = await only(path)
    assert (finding.mark, status) == ("wrong", 4) and "http://127.0.0.1:9/v1 can't be reached" in finding.detail
    (finding, status) = await only(path, "models.writer.api_key_env=ABSENT_KEY")
    assert (finding.mark, finding.fix, status) == ("wrong", "export ABSENT_KEY=...", 2)
    monkeypatch.setenv("PLANTED_KEY", "sk-planted-7f3a")
    with FaultServer(api_key="another") as server:
        (finding, status) = await only(
            path, f"models.writer.endpoint={server.url}", "models.writer.api_key_env=PLANTED_KEY"
        )
    assert status == 2 and "$PLANTED_KEY" in finding.detail and "sk-planted" not in finding.detail


async def test_a_config_that_names_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the key models is missing"):
        await probe_config(config_of(tmp_path), [])


def test_the_command_ends_as_its_worst_endpoint(cli: CLI, tmp_path: Path) -> None:
    path = config_of(tmp_path, writer={"endpoint": "https://x.example/v1", "model": "m", "api_key_env": "ABSENT_KEY"})
    done = cli("doctor", path.name)
    assert done.returncode == 2, done.stderr
    assert lines_by_name(done.stdout)["models.writer"].endswith("; fix: export ABSENT_KEY=...")
