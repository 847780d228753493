"""`gristmill doctor`: one marked line per part, remedies for what is absent, names of keys but never their values."""

from pathlib import Path

import pytest

from gristmill.commands import doctor
from tests.conftest import CLI


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def lines_by_name(output: str) -> dict[str, str]:
    return {line[8:24].strip(): line for line in output.splitlines()}


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
        assert f"apt-get install {remedy}" in lines[name]
    for name in ("Python", "Cores", "Memory", "Disk"):
        assert lines[name].startswith("ok ")
    assert {line.split()[0] for line in lines.values()} == {"ok", "absent"}


def test_what_is_installed_is_shown_with_its_version(cli: CLI, tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo 27.5.1")
    program(tmp_path, "initdb", "echo 'initdb (PostgreSQL) 17.2'")
    program(tmp_path, "mariadbd", "echo 'mariadbd Ver 11.4.5'")
    program(tmp_path, "bwrap", '[ "$1" = --version ] && echo bubblewrap 0.11 || echo inside')
    program(tmp_path, "nvidia-smi", "echo 'NVIDIA H100, 81559 MiB'")
    program(tmp_path, "chromium", "echo")
    lines = lines_by_name(cli("doctor", env={"PATH": str(tmp_path)}).stdout)
    assert lines["Docker"].endswith("daemon 27.5.1")
    assert f"initdb (PostgreSQL) 17.2, {tmp_path}" in lines["PostgreSQL"]
    assert lines["GPU"].endswith("NVIDIA H100, 81559 MiB")
    for name in ("Docker", "PostgreSQL", "MySQL/MariaDB", "Bubblewrap", "GPU", "Chromium"):
        assert lines[name].startswith("ok "), lines[name]


@pytest.mark.parametrize("script", ["echo 'Cannot connect to the Docker daemon' >&2; exit 1", "exec sleep 30"])
def test_a_docker_that_fails_or_hangs_is_absent(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(doctor, "_PATIENCE", 0.5)
    [finding] = doctor._docker()
    assert not finding.found
    assert "no daemon answers" in finding.detail


def test_a_sandbox_that_cannot_start_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "bwrap", '[ "$1" = --version ] && echo bubblewrap 0.11 || exit 1')
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = doctor._bubblewrap()
    assert not finding.found


def test_the_newest_postgres_in_debians_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for release in ("9.6", "15", "17"):
        program(tmp_path / "postgresql" / release / "bin", "initdb", f"echo 'initdb (PostgreSQL) {release}'")
    monkeypatch.setattr(doctor, "_DEBIAN_POSTGRES", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._postgres() == [
        (True, "PostgreSQL", f"initdb (PostgreSQL) 17, {tmp_path / 'postgresql' / '17' / 'bin'}")
    ]


def test_a_half_installed_extra_names_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda package: "" if package == "torch" else "1.0")
    findings = {finding.name: finding for finding in doctor._extras()}
    assert not findings["Extra sft"].found
    assert findings["Extra sft"].detail == "without torch; pip install 'gristmill[sft]'"
    assert findings["Extra openai"] == (True, "Extra openai", "openai 1.0")
    assert "Extra dev" not in findings
