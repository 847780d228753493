"""The job by the `openai` package and asyncio alone: python openai_client.py URL ROWS IN_FLIGHT FOLDER."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from tasks import FORMAT, question_prompt, score_prompt


async def main(url: str, rows: int, in_flight: int, folder: Path) -> None:
    client = AsyncOpenAI(base_url=url, api_key="none")
    slots = asyncio.Semaphore(in_flight)

    async def ask(prompt: str, **more: Any) -> str:
        async with slots:
            reply = await client.chat.completions.create(
                model="stub", messages=[{"role": "user", "content": prompt}], **more
            )
        return reply.choices[0].message.content or ""

    async def row(number: int) -> dict[str, Any]:
        question = await ask(question_prompt(number))
        return {"question": question, **json.loads(await ask(score_prompt(number, question), response_format=FORMAT))}

    done = await asyncio.gather(*(row(number) for number in range(rows)))
    (folder / "out.jsonl").write_text("".join(json.dumps(one) + "\n" for one in done))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
