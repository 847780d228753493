"""The job by distilabel: python distilabel_pipeline.py URL ROWS IN_FLIGHT FOLDER. Its cache is on, as it is by default.

Structured output in distilabel means the package instructor, which asks by a tool call; JSON mode is nearer to the job.
"""

import sys
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from tasks import question_prompt

if __name__ == "__main__":
    url, rows, in_flight, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    with Pipeline(name="field", cache_dir=folder / "cache") as pipeline:
        facts = [{"fact": f"fact {number}", "instruction": question_prompt(number)} for number in range(rows)]
        load = LoadDataFromDicts(data=facts, batch_size=in_flight)
        question = TextGeneration(
            name="question",
            llm=OpenAILLM(model="stub", base_url=url, api_key="none"),
            input_batch_size=in_flight,
            output_mappings={"generation": "question"},
        )
        score = TextGeneration(
            name="score",
            llm=OpenAILLM(
                model="stub",
                base_url=url,
                api_key="none",
                generation_kwargs={"response_format": {"type": "json_object"}},
            ),
            input_batch_size=in_flight,
            template="Score the question {{ question }} for the text {{ fact }}",
            columns=["question", "fact"],
        )
        load >> question >> score
    pipeline.run()["default"]["train"].to_json(folder / "out.jsonl")
