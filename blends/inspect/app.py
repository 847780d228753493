"""The pages of `gristmill inspect`, rendered here and served on loopback only.

    /                       overview: funnel, sources, lengths, scores, tokens
    /rows/TABLE             a table, filtered, 50 rows a page
    /row/TABLE/ID           one conversation, with verdicts, loss mask and provenance
    /export/TABLE.jsonl     what the filter leaves, as JSON lines or .parquet
    /sql                    one SELECT of one's own
    /audit                  a run's sample, one candidate at a time (see gristmill/audit.py)

No page asks anything of another host, the content policy forbids inline scripts and styles, and a request that names
another host than this one (DNS rebinding) or changes something from another page (forgery) is refused.
"""

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from blends.inspect.conversation import details, record_of, stylesheet, trained, turns
from blends.inspect.overview import overview
from blends.inspect.source import PAGE, QueryResult, Source, Table
from gristmill.audit import Candidate, Review, Reviews, candidates, draw, mended, reviewable
from gristmill.errors import ConfigError
from gristmill.runs import RunFolder, refresh

_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would send forms with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_REVIEWED = {
    "accepted": "FROM records WHERE uuid = ?",
    "rejected": "FROM rejects WHERE status <> 'failed' AND coalesce(nullif(payload ->> '$.uuid', ''), task_id) = ?",
}
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def make_app(source: Source) -> Starlette:
    pages = Pages(source)
    return Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/rows/{table}", pages.rows),
            Route("/row/{table}/{id:path}", pages.row),
            Route("/export/{table}.{format}", pages.export),
            Route("/sql", pages.sql),
            Route("/audit", pages.audit),
            Route("/audit", pages.decide, methods=["POST"]),
            Route("/code.css", pages.code_style),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_guard)],
        exception_handlers={404: pages.missing, ConfigError: pages.refused},
    )


async def _guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] or host
    if name not in _LOOPBACK:
        return PlainTextResponse("This page is for this machine alone.", 403)
    origin = request.headers.get("origin")
    if request.method == "POST" and origin != f"http://{host}":
        return PlainTextResponse("A form of another page.", 403)
    response = await answer(request)
    response.headers.update(_HEADERS)
    return response


class Pages:
    """One method a page; what takes DuckDB's time runs in a thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            source=source, link=link, version=version("gristmill"), page_size=PAGE, is_run=source.kind == "run"
        )

    async def overview(self, request: Request) -> Response:
        return self._page("overview", overview=await run_in_threadpool(overview, self._source))

    async def rows(self, request: Request) -> Response:
        return await run_in_threadpool(self._rows, request)

    def _rows(self, request: Request) -> Response:
        table, filters, text = self._asked(request)
        start = _number(request.query_params.get("start"))
        found = table.page(filters, text, start)
        filled = [name for name in (found[0] if found else ()) if any(row[name] not in (None, "") for row in found)]
        return self._page(
            "rows", table=table, filters=filters, text=text, start=start, rows=found,
            columns=[name for name in filled if name not in ("id", "asked")], total=table.count(filters, text),
        )  # fmt: skip

    async def row(self, request: Request) -> Response:
        return await run_in_threadpool(self._row, request)

    def _row(self, request: Request) -> Response:
        table, filters, text = self._asked(request)
        place = _number(request.query_params.get("place"))
        row = table.row(request.path_params["id"])
        if row is None:
            return self._missing("There is no such row.")
        before, after = table.neighbours(filters, text, place) if "place" in request.query_params else (None, None)
        record = record_of(row)
        return self._page(
            "row", table=table, filters=filters, text=text, place=place, before=before, after=after, row=row,
            record=record, turns=turns(record) if record else [], trained=trained(record) if record else "",
            details=details(row), calls=self._calls(record.task_id) if record else [],
        )  # fmt: skip

    def _calls(self, task: str) -> list[dict[str, Any]]:
        """Every call behind a record of a run."""
        if self._source.kind != "run" or not task:
            return []
        return self._source.rows(
            "SELECT key, stage, role, model, finish_reason, input_tokens, output_tokens, usd, seconds FROM calls "
            "WHERE task_id = ? ORDER BY finished_at",
            [task],
        )

    async def export(self, request: Request) -> Response:
        table, filters, text = self._asked(request)
        name = f"{self._source.path.name}-{table.name}"
        if request.path_params["format"] == "jsonl":
            headers = {"Content-Disposition": f'attachment; filename="{name}.jsonl"'}
            lines = _json_lines(table.batches(filters, text))
            return StreamingResponse(lines, media_type="application/jsonl", headers=headers)
        if request.path_params["format"] != "parquet":
            return self._missing("An export is .jsonl or .parquet.")
        with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as file:
            await run_in_threadpool(_write_parquet, table.batches(filters, text), file.name)
        remove = BackgroundTask(Path(file.name).unlink, missing_ok=True)
        return FileResponse(file.name, filename=f"{name}.parquet", background=remove)

    async def sql(self, request: Request) -> Response:
        query = request.query_params.get("query", "")
        found, problem = QueryResult([], [], False), ""
        if query.strip():
            try:
                found = await run_in_threadpool(self._source.query, query)
            except ConfigError as error:
                problem = str(error)
        return self._page("sql", query=query, found=found, problem=problem)

    async def audit(self, request: Request) -> Response:
        return await run_in_threadpool(self._audit, request)

    def _audit(self, request: Request) -> Response:
        folder = self._run()
        reviewer = request.query_params.get("reviewer", "").strip()
        n = max(1, _number(request.query_params.get("n")) or 100)
        skipped = set(request.query_params.getlist("skip"))
        drawn = draw(self._candidates, n)
        reviews = Reviews(folder.reviews)
        open_ = [one for one in drawn if not reviews.has(one, reviewer) and one.id not in skipped] if reviewer else []
        shown: dict[str, Any] = {"candidate": None, "row": None, "record": None, "turns": []}
        if open_:
            row = self._row_of(open_[0])
            record = record_of(row)
            shown = {"candidate": open_[0], "row": row, "record": record, "turns": turns(record) if record else []}
        figures = None
        if reviewer and not open_:  # the sample is done, so its figures are shown
            figures = orjson.loads(refresh(folder.path, anew=True).summary.read_bytes())["audit"]
        return self._page(
            "audit", reviewer=reviewer, n=n, skipped=sorted(skipped), drawn=len(drawn), left=len(open_),
            figures=figures, messages=_messages_json(shown["record"]),
            problem=request.query_params.get("problem", ""), **shown,
        )  # fmt: skip

    async def decide(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(self._decide, form)

    def _decide(self, form: dict[str, str]) -> Response:
        folder = self._run()
        back: list[tuple[str, str]] = [("reviewer", form.get("reviewer", "")), ("n", form.get("n", "100"))]
        back += [("skip", id) for id in form.get("skipped", "").split(",") if id]
        candidate = next(
            (one for one in self._candidates if (one.id, one.side) == (form.get("id"), form.get("side"))), None
        )
        if candidate is None or not form.get("reviewer"):
            raise ConfigError("There is no such candidate, or no reviewer.")
        edited = None
        match form.get("decision"):
            case "skip":
                back.append(("skip", candidate.id))
                return _see_other(back)
            case "accept" | "reject" as decision:
                pass
            case "fix" as decision:
                try:
                    edited = mended(form.get("messages", ""))
                except ValueError:
                    back.append(("problem", "These are no messages; nothing was kept."))
                    return _see_other(back)
            case _:
                raise ConfigError("A decision is accept, fix, reject or skip.")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with folder.lock():
            Reviews(folder.reviews).add(
                Review(*candidate, form["reviewer"], now, decision, form.get("note", ""), edited)
            )
        return _see_other(back)

    def _row_of(self, candidate: Candidate) -> dict[str, Any]:
        """The row to show of a candidate."""
        found = self._source.rows(_REVIEWED[candidate.side], [candidate.id])
        return next(row for one, row in map(reviewable, found) if one == candidate)

    @cached_property
    def _candidates(self) -> list[Candidate]:
        return [candidate for candidate, _ in candidates(self._run())]

    def _run(self) -> RunFolder:
        if self._source.kind != "run" or not RunFolder(self._source.path).is_run():
            raise ConfigError("An audit is of a run; this is none.")
        return RunFolder(self._source.path)

    async def code_style(self, request: Request) -> Response:
        return Response(stylesheet(), media_type="text/css")

    async def missing(self, request: Request, error: Exception) -> Response:
        return self._missing("There is no such page.")

    async def refused(self, request: Request, error: Exception) -> Response:
        return self._page("message", status=400, told=str(error))

    def _missing(self, told: str) -> Response:
        return self._page("message", status=404, told=told)

    def _asked(self, request: Request) -> tuple[Table, dict[str, str], str]:
        table = self._source.tables.get(request.path_params["table"])
        if table is None:
            raise ConfigError(f"There is no table {request.path_params['table']} here.")
        return table, table.known(request.query_params), request.query_params.get("text", "").strip()

    def _page(self, name: str, status: int = 200, **shown: Any) -> Response:
        return HTMLResponse(self._templates.get_template(f"{name}.html.jinja").render(**shown), status)


def link(path: str, filters: dict[str, str], text: str, **more: object) -> str:
    """An address that keeps the filter."""
    asked = {**filters, **({"text": text} if text else {}), **{name: str(value) for name, value in more.items()}}
    return f"{path}?{urlencode(asked)}" if asked else path


def _see_other(asked: list[tuple[str, str]]) -> Response:
    return RedirectResponse(f"/audit?{urlencode(asked)}", 303)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 16 else 0


def _json_lines(reader: Any) -> Iterator[bytes]:
    for batch in reader:
        for row in batch.to_pylist():
            yield orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE)


def _write_parquet(reader: Any, path: str) -> None:
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def _messages_json(record: Any) -> str:
    if record is None:
        return ""
    return orjson.dumps([message.to_openai() for message in record.messages], option=orjson.OPT_INDENT_2).decode()
