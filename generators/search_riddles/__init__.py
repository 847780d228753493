"""Search riddles: questions that hide a walk through a knowledge graph, and an agent that searches its way to the end.

Record:  system     "You answer questions that take several searches. ... Final Answer: <the name, nothing else>"
         user       "A physicist who was born in Tivoli won an award, which is named after a chemist, who came into the
                     world in a city. Which country is the land of that city?"
         assistant  search({"query": "physicist born in Tivoli"})               reasoning_content: the model's own
         tool       {"query": "...", "results": [{"url": "https://atlas.example/wiki/...", "title": "...", ...}]}
         assistant  "... Final Answer: Sweden"
         metadata   riddle (walk, hops, constraints, sparql), answer, supporting_urls, calls, solve_rate, closed_book

`prepare` makes the riddles and writes them to DIR/artifacts/riddles.jsonl: walks of 4-8 hops from hubs of the graph,
each question with exactly one answer there, which the stored SPARQL query shows. One task is one riddle: perhaps a
teacher words it, then an agent tries it several times with a search tool. `seeds` takes riddles that were made before.

Source: Nemotron 3 Super report (arXiv 2604.12374), search: seeds from Wikidata by SPARQL, random walks, obfuscation,
an agent with a search tool over MCP, a structured final answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from generators.search_riddles.agent import (
    AgentLimits,
    McpSearch,
    Rollout,
    best,
    closed_book,
    found_at_once,
    rollout,
    structured,
    supports,
)
from generators.search_riddles.making import Made, known_graph, make_riddles
from generators.search_riddles.pages import pages, url_of, write_pages
from generators.search_riddles.riddles import Finds, Maker, Riddle, RiddleLimits
from generators.search_riddles.search import EmbeddedSearch, Index, open_index
from generators.search_riddles.sparql.endpoint import WIKIDATA, Endpoint, Public
from generators.search_riddles.sparql.server import serving
from generators.search_riddles.teacher import teach
from generators.search_riddles.vocabulary import Vocabulary, known_relations
from generators.search_riddles.walks import Walker, WalkLimits
from gristmill import Config, Context, Generator, Record, Reject
from gristmill.config import require_file
from gristmill.errors import ConfigError, GristmillError
from gristmill.seeds import BadSeed, read_rows
from gristmill.tools.mcp import McpConfig, open_mcp
from gristmill.tools.simulation import Environment
from schemas import JsonObject, system, user

_BUNDLED = Path(__file__).parent / "graph"
RIDDLES, PAGES = "riddles.jsonl", "pages.jsonl.gz"

_Paths = Annotated[list[Path], BeforeValidator(lambda given: [given] if isinstance(given, str | Path) else given)]


class SearchParams(Config):
    """The embedded search has pages of the graph and of `corpus` (.jsonl of {url, title, text}); `mcp` is another."""

    corpus: _Paths = []
    excerpt: Annotated[int, Field(ge=100, le=4000)] = 600
    mcp: McpConfig | None = None


class Params(Config):
    """`endpoint` is `embedded` (the bundled graph, or the files of `graph`), `wikidata` or the address of a SPARQL
    service; `contact` tells a public one who asks. `riddles` are made, of at most `walks_per_riddle` walks each.
    `phrasing: teacher` has the role `writer` word them. `judge` is a role that may accept other spellings of an answer,
    `normalise` asks the role `normaliser` for the answer as JSON."""

    endpoint: str = "embedded"
    contact: str = ""
    graph: _Paths = []
    language: str = "en"
    in_flight: Annotated[int, Field(ge=1, le=8)] = 1
    riddles: Annotated[int, Field(ge=1)] = 120
    walks_per_riddle: Annotated[int, Field(ge=1)] = 100
    walks: WalkLimits = WalkLimits()
    riddle: RiddleLimits = RiddleLimits()
    phrasing: Literal["template", "teacher"] = "template"
    search: SearchParams = SearchParams()
    agent: AgentLimits = AgentLimits()
    closed_book: Annotated[int, Field(ge=0, le=16)] = 2
    judge: str | None = None
    normalise: bool = True

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.endpoint not in ("embedded", "wikidata") and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint must be embedded, wikidata or the address of a SPARQL service")
        if self.endpoint != "embedded" and not self.contact:
            raise ValueError("contact: a public endpoint must be told who asks, such as an e-mail address")
        if self.endpoint != "embedded" and self.graph:
            raise ValueError("graph: files are served by the embedded endpoint alone")
        return self

    @property
    def asks_again(self) -> bool:
        """Whether a search for the question itself has to be tried with each task, as `prepare` can't know it."""
        elsewhere = self.endpoint != "embedded" or self.search.mcp is not None
        return self.riddle.one_search and (elsewhere or self.phrasing == "teacher")

    @property
    def graph_files(self) -> tuple[str, ...]:
        bundled = [_BUNDLED / "statements.tsv.gz", _BUNDLED / "entities.jsonl.gz"]
        return tuple(str(path) for path in self.graph or bundled)


class SearchRiddles(Generator[Riddle, Params]):
    name = "search_riddles"
    version = "1"

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        self._made: list[Riddle] = []
        for key, paths in (("graph", params.graph), ("search.corpus", params.search.corpus)):
            for path in paths:
                require_file(path, f"params.{key}")
        if seeds and params.endpoint != "embedded" and not params.search.corpus and params.search.mcp is None:
            raise ConfigError(
                "params.search: riddles from `seeds` don't say what is in a public graph; name an `mcp` server, or the "
                f"{PAGES} of the run that made them as `corpus`."
            )

    def files(self) -> list[Path]:
        graph = map(Path, self.params.graph_files) if self.params.endpoint == "embedded" else ()
        return [*graph, *self.params.search.corpus]

    async def prepare(self, ctx: Context) -> None:
        """Makes the riddles, and the pages for the embedded search."""
        params = self.params
        if self.seeds and params.search.mcp is not None:
            return  # neither is wanted
        ctx.artifacts.mkdir(parents=True, exist_ok=True)
        if params.endpoint == "embedded":
            endpoint: Endpoint = await ctx.resource(serving, params.graph_files)
        else:
            url = WIKIDATA if params.endpoint == "wikidata" else params.endpoint
            endpoint = Public(ctx, url, params.contact, params.in_flight)
        graph = await known_graph(endpoint, params.endpoint == "embedded", params.language, [*known_relations()])
        vocabulary = Vocabulary(graph)
        if not self.seeds:
            walker = Walker(graph, vocabulary, params.walks)
            finds = _finder(Index(pages(graph, vocabulary))) if graph.whole else None
            maker = Maker(graph, vocabulary, params.riddle, finds)
            made = await make_riddles(
                graph, vocabulary, walker, maker, params.walks,
                params.riddles, params.riddles * params.walks_per_riddle, self.seed,
            )  # fmt: skip
            self._made = made.riddles
            _write(ctx.artifacts, made)
        write_pages(ctx.artifacts / PAGES, pages(graph, vocabulary))

    def tasks(self) -> Iterator[Riddle | BadSeed]:
        if not self.seeds:
            yield from self._made
            return
        for where, row in read_rows(self.seeds):
            yield row if isinstance(row, BadSeed) else _read_riddle(where, row)

    async def run(self, seed: Riddle, ctx: Context) -> Record:
        params, riddle = self.params, seed
        if params.phrasing == "teacher":
            draft, question = await teach(ctx, riddle)
            riddle = riddle.model_copy(update={"draft": draft, "question": question})
        environment = await self._environment(ctx)
        if params.asks_again and await found_at_once(ctx, environment, riddle):
            raise Reject("riddle", "one_search", riddle.question)
        known = await closed_book(ctx, riddle, params.closed_book, params.judge)
        asked = [system(ctx.prompt("agent")), user(riddle.question)]
        made = await ctx.gather(
            rollout(ctx, asked, riddle, environment, params.agent, params.judge) for _ in range(params.agent.rollouts)
        )
        solved = sum(one.fault is None for one in made) / len(made)
        told: JsonObject = {
            "riddle": _told(riddle), "solve_rate": round(solved, 4), "closed_book": known, "phrasing": params.phrasing,
            "rollouts": [one.told() for one in made],
        }  # fmt: skip
        chosen = best(made, told)
        proof = await self._proof(ctx, riddle, chosen, told)
        return Record(
            messages=[*asked, *chosen.messages], tools=environment.tools, category=riddle.answer.kind,
            metadata={**told, **proof},
        )  # fmt: skip

    async def _proof(self, ctx: Context, riddle: Riddle, chosen: Rollout, told: JsonObject) -> JsonObject:
        """The answer, where each fact of the walk was read, and the answer as data. Reject where nothing backs it."""
        found = supports(chosen, riddle)
        if not found:
            raise Reject("agent", "unsupported", "no result tells a fact of the walk", **told)
        proof: JsonObject = {
            "answer": riddle.answer.label, "aliases": [*riddle.answer.aliases], "calls": chosen.calls,
            "supporting_urls": [*dict.fromkeys(support.url for support in found)],
            "supported": [{"fact": fact, "url": url} for fact, url in found],
        }  # fmt: skip
        if self.params.normalise:
            given = await structured(ctx, chosen.messages[-1].content, found, riddle)
            proof["structured"] = given.model_dump()
        return proof

    async def _environment(self, ctx: Context) -> Environment:
        search, characters = self.params.search, self.params.agent.result_characters
        if search.mcp is not None:
            return McpSearch(await ctx.resource(open_mcp, search.mcp), characters)
        paths = (str(ctx.artifacts / PAGES), *map(str, search.corpus))
        return EmbeddedSearch(await ctx.resource(open_index, paths, search.excerpt), characters)


def _finder(index: Index) -> Finds:
    return lambda question, most: [page.url for page in index.find(question, most)]


def _write(folder: Path, made: Made) -> None:
    lines = [riddle.model_dump_json() for riddle in made.riddles]
    (folder / RIDDLES).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "lost.jsonl").write_bytes(b"".join(orjson.dumps(loss) + b"\n" for loss in made.losses))
    (folder / "walks.json").write_bytes(orjson.dumps(made.account(), option=orjson.OPT_INDENT_2))
    if not made.riddles:
        raise GristmillError(f"no riddle came out of {made.drawn} walks; see {folder / 'walks.json'} for the reasons.")


def _read_riddle(where: str, row: dict[str, object]) -> Riddle | BadSeed:
    try:
        return Riddle.model_validate(row)
    except ValidationError as error:
        return BadSeed(where, f"no riddle: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}")


def _told(riddle: Riddle) -> JsonObject:
    """The riddle as metadata: what was hidden, what was given, and the query that shows that its answer is the one."""
    return {
        "question": riddle.question, "draft": riddle.draft, "shape": riddle.shape, "hops": riddle.hops,
        "walk": [fact.text for fact in riddle.facts], "entities": [one.label for one in riddle.entities],
        "classes": [one.kind for one in riddle.entities], "constraints": [fact.text for fact in riddle.constraints],
        "answers": [one.label for one in riddle.answers], "sparql": riddle.sparql,
        "urls": [url_of(one.iri) for one in riddle.entities],
    }  # fmt: skip
