"""algorithmic: problems asked for with next to no prompt, rewritten until they are complete, solved and proved.

Record:  user       "A colleague asks in passing: could you write count_islands_without_lakes for me? It gets ...
                     ```python
                     def count_islands_without_lakes(grid: list[str]) -> int: ..."
         assistant  the whole function, which has passed the examples and the tests
         metadata   title, problem, cell (variant, difficulty, form), code (tests, entry point), rounds, score

Three variants of where a problem comes from: `chat`, a minimal prompt to a chat model; `base`, the beginning of a text
that a base model goes on with; `leetcode`, the style of online judges. A raw text becomes a typed function with a
docstring and a title; rewrite passes settle its edge cases, write tests, and tell it in another form. Several answers
are run. Where none holds, the best one is corrected in up to `rounds` rounds, always judged by execution first; a
LeetCode-style solution is then scored, and corrected too where the score is low. A trace stays only on an answer that
was right at once: a corrected one was given to other messages than the record shows.

That is the mode `teacher`. The mode `exercises` (exercises.py) composes problems by rule and needs no model at all.

Source: Nemotron 3 Super report (arXiv 2604.12374), unconditional algorithmic problems; deduplication by a title of
five to eight words is the judge `duplicates` on metadata.title.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from generators.algorithmic.exercises import Posed, by_rule, checked_title, posed_cells
from generators.code_concepts.exercises import exercise_axes
from generators.code_concepts.exercises.grammar import Category
from gristmill import Answer, Config, Context, Generator, Record, Reject
from gristmill.errors import ConfigError
from gristmill.llm import Reply
from gristmill.sandbox import SandboxLimits
from judges.python_problem import Problem, read_problem
from judges.python_trials import Solution, Trial, pass_at, programs_in, try_out
from schemas import Json, Message, Seed, assistant, user

Variant = Literal["chat", "base", "leetcode"]
Difficulty = Literal["", "easy", "medium", "hard"]
Pass = Literal["edge_cases", "unit_tests", "reformat"]

FORMS = 6

MANNERS = (
    "a colleague's message in a chat, informal and to the point",
    "a ticket in an issue tracker, with a heading and short paragraphs",
    "an exercise in a textbook, precise and neutral",
    "a question in a job interview, spoken",
    "a contest statement with separate paragraphs for input, output and limits",
    "a short request in the imperative, three sentences at most",
)


class Params(Config):
    """`passes` are the rewrite passes; without unit_tests the docstring's examples are the only tests.

    Of `attempts` answers the first that passes is taken; else `rounds` corrections are asked for. `min_score` (0 to 10)
    is what a LeetCode-style solution has to reach. Exercises take `variants` (chat, leetcode), `categories`, and
    `paraphrase`, which may name the role that rewords `paraphrase_share` of them.
    """

    mode: Literal["teacher", "exercises"] = "teacher"
    variants: Annotated[list[Variant], Field(min_length=1)] = ["chat", "base", "leetcode"]
    difficulties: Annotated[list[Difficulty], Field(min_length=1)] = ["", "easy", "medium", "hard"]
    passes: list[Pass] = ["edge_cases", "unit_tests", "reformat"]
    attempts: Annotated[int, Field(ge=1, le=16)] = 3
    rounds: Annotated[int, Field(ge=0, le=8)] = 2
    min_score: Annotated[int, Field(ge=0, le=10)] = 8
    max_lines: Annotated[int, Field(gt=0)] = 80
    base_tokens: Annotated[int, Field(gt=0)] = 400
    limits: SandboxLimits = SandboxLimits(seconds=5)
    categories: Annotated[list[Category], Field(min_length=1)] = ["lists", "strings", "numbers", "dictionaries"]
    paraphrase: bool | str = True
    paraphrase_share: Annotated[float, Field(ge=0, le=1)] = 1.0


class Prompted(Seed):
    """One task: how little is said to get a problem. `index` is its place in the walk."""

    variant: Variant
    difficulty: Difficulty
    form: int
    index: int


class Shaped(Answer):
    title: Annotated[str, Field(min_length=10, max_length=120)]
    problem: Annotated[str, Field(min_length=40, max_length=8000)]


class Rewritten(Answer):
    problem: Annotated[str, Field(min_length=40, max_length=8000)]


class Tests(Answer):
    tests: Annotated[list[Annotated[str, Field(max_length=800)]], Field(min_length=1, max_length=20)]


class Told(Answer):
    text: Annotated[str, Field(min_length=40, max_length=4000)]


class Score(Answer):
    reason: Annotated[str, Field(max_length=1000)]
    score: Annotated[int, Field(ge=0, le=10)]


def prompted_cells(params: Params, seed: int) -> Iterator[Prompted]:
    """Variants in turn; difficulties and forms once a round each, in an order of the round's own."""
    rng = Random(f"{seed}|algorithmic")
    index = 0
    while True:
        points = [(difficulty, form) for difficulty in params.difficulties for form in range(FORMS)]
        for difficulty, form in rng.sample(points, len(points)):
            for variant in params.variants:
                yield Prompted(variant=variant, difficulty=difficulty, form=form, index=index)
                index += 1


class Algorithmic(Generator[Seed, Params]):
    name = "algorithmic"
    version = "1"
    endless = True
    reads_seeds = False

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if params.mode == "exercises" and "base" in params.variants:
            raise ConfigError("params.variants: exercises ask no base model; set variants: [chat, leetcode].")

    def tasks(self) -> Iterator[Seed]:
        if self.params.mode == "exercises":
            return posed_cells(self.params.categories, self.params.variants, self.seed)
        return prompted_cells(self.params, self.seed)

    def coverage_axes(self) -> dict[str, list[str]]:
        variants = {"variant": list[str](self.params.variants)}
        if self.params.mode == "exercises":
            return {**variants, **exercise_axes(self.params.categories)}
        return {**variants, "difficulty": list(self.params.difficulties)}

    async def run(self, seed: Seed, ctx: Context) -> Record:
        if isinstance(seed, Posed):
            return await by_rule(seed, self.params, ctx)
        assert isinstance(seed, Prompted)
        return await self._by_teacher(seed, ctx)

    async def _by_teacher(self, seed: Prompted, ctx: Context) -> Record:
        """Rejects: title, problem, rewrite, cleaning, tests, score, llm."""
        title, problem = await self._shape(await self._raw(seed, ctx), ctx)
        if "edge_cases" in self.params.passes:
            problem = await self._with_edge_cases(problem, ctx)
        tests = await self._tests(problem, ctx)
        asked = user(await self._message(problem, ctx))
        replies = await ctx.gather(
            (ctx.chat("solver", [asked]) for _ in range(self.params.attempts)), keep_rejects=True
        )
        programs, _ = programs_in(replies, problem, self.params.max_lines)
        trial = await try_out(programs, problem, tests, self.params.limits, ctx)
        best = trial.passing[0] if trial.passing else trial.nearest
        solution, rounds, score = await self._corrected(best, trial, asked, seed, problem, ctx)
        trace = solution.reply.message.reasoning_content if rounds == 0 else None
        return Record(
            messages=[asked, assistant(f"```python\n{solution.program.rstrip()}\n```", trace)],
            category=seed.variant,
            metadata={
                "title": title,
                "cell": seed.model_dump(mode="json", exclude={"index"}),
                "problem": problem.text,
                "difficulty": pass_at(self.params.attempts, len(trial.passing)),
                "rounds": rounds,
                "score": score,
                "code": {"entry_point": problem.name, "tests": list[Json](trial.kept_tests)},
            },
        )

    # --- the problem ---

    async def _raw(self, seed: Prompted, ctx: Context) -> str:
        said = {"difficulty": seed.difficulty, "form": seed.form}
        if seed.variant == "base":
            beginning = ctx.prompt("base", **said)
            return beginning + await ctx.complete("base", beginning, max_tokens=self.params.base_tokens)
        article = "an" if seed.difficulty == "easy" else "a"
        if seed.variant == "leetcode":
            prompt = ctx.prompt("leetcode", difficulty=seed.difficulty, article=article)
        else:
            prompt = ctx.prompt("chat", article=article, **said)
        return (await ctx.chat("writer", [user(prompt)])).text

    async def _shape(self, raw: str, ctx: Context) -> tuple[str, Problem]:
        shaped = await ctx.ask("editor", "shape", Shaped, raw=raw)
        return checked_title(shaped.title), read_problem(shaped.problem)

    async def _with_edge_cases(self, problem: Problem, ctx: Context) -> Problem:
        """The problem with its edge cases settled. Reject `rewrite`: another_function, or what makes it no problem."""
        text = (await ctx.ask("editor", "edge_cases", Rewritten, problem=problem.text)).problem
        try:
            rewritten = read_problem(text)
        except Reject as fault:
            raise Reject("rewrite", fault.reason, fault.detail, problem=text) from None
        kept = (rewritten.name, rewritten.signature, rewritten.imports)
        if kept != (problem.name, problem.signature, problem.imports):
            raise Reject("rewrite", "another_function", "name, signature or imports were changed", problem=text)
        return rewritten

    async def _tests(self, problem: Problem, ctx: Context) -> list[str] | None:
        if "unit_tests" not in self.params.passes:
            return None
        return (await ctx.ask("tester", "tests", Tests, name=problem.name, problem=problem.text)).tests

    async def _message(self, problem: Problem, ctx: Context) -> str:
        """All that the solver, and later the trained model, sees. Reject `rewrite`: no_name, holds_code."""
        if "reformat" not in self.params.passes:
            return ctx.prompt("sample", told="Please complete this Python function.", problem=problem.text)
        manner = ctx.rng.choice(MANNERS)
        told = (await ctx.ask("editor", "reformat", Told, manner=manner, name=problem.name, problem=problem.text)).text
        if problem.name not in told:
            raise Reject("rewrite", "no_name", f"the new wording doesn't name {problem.name}", text=told)
        if "```" in told or ">>>" in told or "def " in told:
            raise Reject("rewrite", "holds_code", "the new wording holds code", text=told)
        return ctx.prompt("sample", told=told, problem=problem.text)

    # --- the solution ---

    async def _corrected(
        self, solution: Solution, trial: Trial, asked: Message, seed: Prompted, problem: Problem, ctx: Context
    ) -> tuple[Solution, int, int | None]:
        """A solution that passes (and, LeetCode-style, scores), after how many rounds, and its score.

        Reject `tests, no_solution_passes` or `score, low` where the rounds don't suffice.
        """
        talk = [asked]
        for done in range(self.params.rounds + 1):
            score = None
            if not trial.passes(solution.report):
                fault = Reject("tests", "no_solution_passes", trial.complaint(solution.report), problem=problem.text)
            elif seed.variant != "leetcode":
                return solution, done, None
            else:
                scored = await ctx.ask("scorer", "score", Score, problem=problem.text, solution=solution.program)
                score = scored.score
                if score >= self.params.min_score:
                    return solution, done, score
                fault = Reject("score", "low", scored.reason, score=score, problem=problem.text)
            if done == self.params.rounds:
                raise fault
            talk += [assistant(solution.reply.text), user(ctx.prompt("correct", fault=fault.detail))]
            solution = await self._again(await ctx.chat("solver", talk), trial, problem, ctx)
        raise AssertionError("the last round returns or raises")

    async def _again(self, reply: Reply, trial: Trial, problem: Problem, ctx: Context) -> Solution:
        """A further answer, run on the tests that are left."""
        ((kept, program),) = programs_in([reply], problem, self.params.max_lines)[0]
        report = await ctx.sandbox.run_tests(program, trial.tests, limits=self.params.limits)
        return Solution(kept, program, report)
