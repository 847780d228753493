"""Keys stay secret, prompts and seeds stay data, configs stay configs."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from generators.template import keep_condition
from gristmill.config import load_config
from gristmill.errors import ConfigError, GristmillError, TaskFailed
from gristmill.prompts import Prompt, environment
from gristmill.testing import Faults, FaultServer
from schemas.run_config import RunConfig
from tests.conftest import CLI
from tests.runs import STEPS, TURNS, rows_of, run, two_calls, write

SECRET = "sk-planted-0123456789-abcdefghij"


def assert_nowhere(secret: str, folder: Path, *outputs: str) -> None:
    """In no file, also not in part, and in no output."""
    parts = {secret, secret[:16], secret[-16:]}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(part.encode() in content for part in parts), f"{path} holds the key"
    for parquet in folder.rglob("*.parquet"):  # columns may be compressed
        text = str(rows_of(parquet.parent, parquet.name))
        assert not any(part in text for part in parts), f"{parquet} holds the key"
    for output in outputs:
        assert not any(part in output for part in parts), output


class Echo(FaultServer):
    """Repeats the key in errors of every kind, at places where a message is cut, and in streams."""

    def __init__(self, status: int, padding: int = 0) -> None:
        super().__init__(Faults(error=1.0 if status == 200 else 0.0))
        self.status, self.padding = status, padding

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if self.status == 200:
            return await super()._chat(request)
        self.requests += 1
        told = "x" * self.padding + f" the key {request.headers['Authorization']} is not good enough"
        return web.json_response({"error": {"message": told, "code": "odd"}}, status=self.status)


@pytest.mark.parametrize(("status", "padding"), [(400, padding) for padding in range(255, 296, 8)]
                         + [(status, 0) for status in (200, 400, 401, 403, 404, 413, 429, 500)])  # fmt: skip
def test_no_part_of_a_key_is_kept_from_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, padding: int
) -> None:
    """Whatever the server does with it; 200 is an error in the middle of each stream."""
    monkeypatch.setenv("PLANTED_KEY", SECRET)
    monkeypatch.setattr("gristmill.llm.pool.START_SECONDS", 0.5)
    said = ""
    with Echo(status, padding) as server:
        model = {"api_key_env": "PLANTED_KEY", "stream": True}
        try:
            run(two_calls(tmp_path, server.url, 2, model=model, max_failed=1, patience=0.5), tmp_path / "run")
        except GristmillError as error:
            said = str(error)
        assert server.requests > 0
    rejects = rows_of(tmp_path / "run", "rejects")
    assert said or any(row["detail"] for row in rejects), "the message itself is kept"
    assert_nowhere(SECRET, tmp_path, said, *capsys.readouterr())


def test_a_planted_key_is_nowhere_in_a_run_that_works(cli: CLI, tmp_path: Path) -> None:
    with FaultServer(api_key=SECRET) as server:
        config = two_calls(tmp_path, server.url, 10, model={"api_key_env": "PLANTED_KEY"})
        config["ledger"] = "shared.sqlite"
        write(config, tmp_path / "run.yaml")
        done = cli("generate", "run.yaml", env={"PLANTED_KEY": SECRET})
        assert done.returncode == 0, done.stderr
    for name in ("ledger.sqlite", "summary.json", "report.html", "config.yaml", "README.md", "log.jsonl"):
        assert (tmp_path / "runs/run" / name).is_file(), "what is searched is there"
    assert_nowhere(SECRET, tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "override",
    [
        f"models.default.api_key_env={SECRET}",
        f"models.default.api_key={SECRET}",
        f"models.default.endpoint=http://user:{SECRET}@127.0.0.1:9/v1",
        f"models.default.endpoint=ftp://user:{SECRET}@127.0.0.1:9/v1",
    ],
)
def test_a_key_in_the_config_is_refused_and_not_repeated(cli: CLI, tmp_path: Path, override: str) -> None:
    write(two_calls(tmp_path, "http://127.0.0.1:9/v1", 2), tmp_path / "run.yaml")
    done = cli("generate", "run.yaml", override)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert_nowhere(SECRET, tmp_path, done.stdout, done.stderr)


def test_a_redirect_to_another_host_gets_no_key(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as elsewhere:

        class Redirecting(FaultServer):
            async def _chat(self, request: web.Request) -> web.StreamResponse:
                raise web.HTTPPermanentRedirect(elsewhere.url.replace("127.0.0.1", "localhost") + "/chat/completions")

        with Redirecting() as server:
            config = two_calls(tmp_path, server.url, 2, model={"api_key_env": "PLANTED_KEY"})
            write(config, tmp_path / "run.yaml")
            done = cli("generate", "run.yaml", env={"PLANTED_KEY": SECRET})
        assert done.returncode == 2 and "redirects elsewhere" in done.stderr and elsewhere.requests == 0
    assert_nowhere(SECRET, tmp_path, done.stdout, done.stderr)


# ---- prompts

NASTY = [
    "{{ 7 * 7 }}",
    "{% for x in range(10) %}x{% endfor %}",
    "{# hidden #}{{ cycler.__init__.__globals__ }}",
    "{{ ''.__class__.__mro__ }}",
    "{% raw %}{{ a }}{% endraw %}",
    "}} {{ question",
]


def test_seeds_and_replies_with_templates_in_them_stay_as_they_are(tmp_path: Path) -> None:
    asked: list[str] = []

    def script(role: str, request: Any) -> Any:
        asked.append(request["messages"][0]["content"])
        return {"score": 4} if "response_format" in request else f"What of {NASTY[len(asked) % len(NASTY)]}?"

    with FaultServer(script=script) as server:
        config = two_calls(tmp_path, server.url, 1, model={"max_in_flight": 1})
        seeds = b"".join(orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE) for text in NASTY)
        Path(config["seeds"]).write_bytes(seeds)
        run(config, tmp_path / "plain")
        assert [text for text in asked if text.startswith("Write")] == [
            f"Write one question about: {text}" for text in NASTY
        ]
        plain = rows_of(tmp_path / "plain")
        assert [row["messages"][1]["content"] for row in plain] == NASTY
        assert all("{" in row["messages"][0]["content"] for row in plain)
        asked.clear()
        conditional = [{**STEPS[0], "prompt": "Write {% if text %}one{% endif %} question about: {{ text }}"}, STEPS[1]]
        turns = [{**turn, "content": turn["content"] + "{% if 1 %}{% endif %}"} for turn in TURNS]
        run({**config, "params": {**config["params"], "steps": conditional, "messages": turns}}, tmp_path / "jinja")
        assert [text for text in asked if text.startswith("Write")] == [
            f"Write one question about: {text}" for text in NASTY
        ]
        assert [row["messages"][1]["content"] for row in rows_of(tmp_path / "jinja")] == NASTY


@given(st.text(), st.sampled_from(NASTY))
def test_the_fast_way_gives_what_jinja_gives_and_neither_evaluates_values(text: str, nasty: str) -> None:
    source = "Say 100 %: {{ a }} and %s\n {{ b }}!\n"
    prompt = Prompt.compile("p", source)
    assert prompt.plain is not None, "this one takes the fast way"
    variables = {"a": text + nasty, "b": nasty}
    assert prompt.render(variables) == environment.from_string(source).render(variables).strip()
    assert nasty.strip() in prompt.render(variables)


@pytest.mark.parametrize("source", ["{{ a.__class__ }}", "{{ a.__init__.__globals__ }}", "{{ a|attr('__class__') }}"])
def test_prompts_are_rendered_in_a_sandbox(source: str) -> None:
    with pytest.raises(ConfigError, match="can't be rendered"):
        Prompt.compile("p", source + "{{ a.b.c }}").render({"a": "x"})


@pytest.mark.parametrize(
    "expression",
    [
        "score()",
        "''.join(['a'])",
        "text.upper() == 'X'",
        "range(3)",
        "cycler('a').next()",
        "(x or print)('y')",
        "x[0]()",
    ],
)
def test_keep_if_cannot_call(expression: str) -> None:
    with pytest.raises(ConfigError, match="calls something"):
        keep_condition(expression)


@pytest.mark.parametrize(
    "expression",
    ["text.__class__.__mro__", "text|attr('__class__')", "text['__class__'].__subclasses__", "'%c' % text.__class__"],
)
def test_keep_if_cannot_reach_into_objects(expression: str) -> None:
    with pytest.raises(TaskFailed):
        keep_condition(f"({expression})|string != ''")({"text": "x"})


@pytest.mark.parametrize(
    "line",
    [
        "x: !!python/object/apply:os.system ['touch planted']",
        "x: !!python/object/new:subprocess.Popen [['touch', 'planted']]",
        "x: !!python/name:os.system",
        "x: !!python/module:os",
    ],
)
def test_yaml_makes_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(f"generator: template\n{line}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config("run.yaml", [], RunConfig)
    write(two_calls(tmp_path, "http://127.0.0.1:9/v1", 2), tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config("run.yaml", ["params.keep_if=" + line.removeprefix("x: ")], RunConfig)
    assert not (tmp_path / "planted").exists()
