"""haiku: a plugin package, as a user would write one; the tests run it through the same door as the built-ins."""

from collections.abc import Iterator

from gristmill import Config, Context, Generator, Judge, NoParams, Record, Seed, Verdict
from schemas import user


class Topic(Seed):
    topic: str


class Params(Config):
    topics: list[str] = ["frost", "harbour", "bicycle"]


class Haiku(Generator[Topic, Params]):
    name = "haiku"

    def tasks(self) -> Iterator[Topic]:
        return (Topic(topic=topic) for topic in self.params.topics)

    async def run(self, seed: Topic, ctx: Context) -> Record:
        asked = [user(ctx.prompt("haiku", topic=seed.topic))]
        reply = await ctx.chat("poet", asked)
        return Record(messages=[*asked, reply.message], category="haiku")


class ThreeLines(Judge[NoParams]):
    name = "three_lines"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        lines = record.messages[-1].content.strip().splitlines()
        return Verdict(name=self.name, passed=len(lines) == 3, reason=f"{len(lines)} lines")
