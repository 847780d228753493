"""The job by NeMo Data Designer: python data_designer_run.py URL ROWS IN_FLIGHT FOLDER.

It resumes from the buffers that are complete; BUFFER is their size.
"""

import os
import sys
from pathlib import Path

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner, ResumeMode
from tasks import SCHEMA

url, rows, in_flight, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
provider = dd.ModelProvider(name="stub", endpoint=url, provider_type="openai", api_key="none")
model = dd.ModelConfig(
    alias="stub",
    model="stub",
    provider="stub",
    inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=in_flight),
    skip_health_check=True,
)
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
facts = pd.DataFrame({"fact": [f"fact {number}" for number in range(rows)]})
builder.with_seed_dataset(dd.DataFrameSeedSource(df=facts))
builder.add_column(
    dd.LLMTextColumnConfig(name="question", model_alias="stub", prompt="Write one question about: {{ fact }}")
)
builder.add_column(
    dd.LLMStructuredColumnConfig(
        name="verdict",
        model_alias="stub",
        output_format=SCHEMA,
        prompt="Score the question {{ question }} for the text {{ fact }}",
    )
)
designer = DataDesigner(artifact_path=folder / "artifacts", model_providers=[provider])
designer.set_run_config(dd.RunConfig(buffer_size=int(os.environ["BUFFER"])))
made = designer.create(builder, num_records=rows, dataset_name="field", resume=ResumeMode.IF_POSSIBLE)
made.load_dataset().to_json(folder / "out.jsonl", orient="records", lines=True)
