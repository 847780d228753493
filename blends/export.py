"""`gristmill blend-export BLEND --to hf|jsonl|packed` and `gristmill push BLEND NAME`.

hf       OUT/data/train-00000-of-00003.parquet, ... and README.md, as the hub and `datasets.load_dataset(OUT)` want it
jsonl    OUT/train.jsonl, OUT/valid.jsonl: one {"messages": [...], "tools": [...], ...} a line in OpenAI's format
packed   OUT/data/STAGE: what `gristmill prep` makes of it for training

blend.duckdb stays at home: it holds what was dropped, as it came.
"""

import os
import re
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gristmill.commands import Command, run_command
from gristmill.errors import ConfigError, EndpointError, GristmillError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SPLITS = ("train", "valid")
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def to_hf(blend: Path, out: Path, put: Callable[[Path, Path], object] = shutil.copyfile) -> None:
    """The same rows under the names that `datasets` knows, with the card, the manifest and the report.

    `put(file, at)` brings a file of rows there.
    """
    import yaml

    data = out / "data"
    data.mkdir(parents=True)
    there = []
    for split in SPLITS:
        files = [path for path in sorted((blend / split).glob("*.parquet")) if _rows(path)]
        there += [{"split": split, "path": f"data/{split}-*.parquet"}] if files else []
        for number, path in enumerate(files):
            put(path.absolute(), data / f"{split}-{number:05d}-of-{len(files):05d}.parquet")
    _, matter, body = (blend / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    fields = {**yaml.safe_load(matter), "dataset_info": _dataset_info(blend)}
    fields["configs"] = [{"config_name": "default", "data_files": there}]
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    (out / "README.md").write_text(f"---\n{front}---\n{body}", encoding="utf-8")
    for name in ("manifest.json", "report.html"):
        shutil.copyfile(blend / name, out / name)


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    rows: int = pq.read_metadata(path).num_rows
    return rows


def _dataset_info(blend: Path) -> dict[str, Any]:
    """Features and sizes as the hub shows them, without `datasets`."""
    from schemas.arrow import RECORDS

    splits = [
        {
            "name": split,
            "num_examples": sum(map(_rows, paths)),
            "num_bytes": sum(path.stat().st_size for path in paths),
        }
        for split in SPLITS
        if sum(map(_rows, paths := sorted((blend / split).glob("*.parquet"))))
    ]
    return {"features": [_feature(field) for field in RECORDS], "splits": splits}


def _feature(field: Any) -> dict[str, Any]:
    """A column in the hub's YAML: {name, dtype}, {name, list: [...]} or {name, struct: [...]}."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_list(kind):
        inner = kind.value_type
        fields = [_feature(part) for part in inner] if pa.types.is_struct(inner) else _dtype(inner)
        return {"name": field.name, "list": fields}
    if pa.types.is_struct(kind):
        return {"name": field.name, "struct": [_feature(part) for part in kind]}
    return {"name": field.name, "dtype": _dtype(kind)}


def _dtype(kind: Any) -> str:
    return {"double": "float64"}.get(str(kind), str(kind))


def to_jsonl(blend: Path, out: Path) -> None:
    """Rows as training code outside Gristmill reads them; what is empty is left out of messages."""
    import orjson
    import pyarrow.parquet as pq

    from schemas.arrow import row_to_record

    out.mkdir(parents=True)
    for split in SPLITS:
        with (out / f"{split}.jsonl").open("wb") as lines:
            for path in sorted((blend / split).glob("*.parquet")):
                for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
                    for record in map(row_to_record, batch.to_pylist()):
                        line = {
                            "messages": [message.to_openai() for message in record.messages],
                            **(
                                {"tools": [tool.model_dump(mode="json") for tool in record.tools]}
                                if record.tools
                                else {}
                            ),
                            "reasoning": record.reasoning,
                            "uuid": record.uuid,
                        }
                        lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def to_packed(blend: Path, out: Path, tokenizer: str, template: str, pack_tokens: int) -> int:
    """Asks `gristmill prep`, which knows how; its exit status."""
    import yaml

    stage = {"name": "packed", "global_batch": 1, "lr": 1.0e-5, "steps": 1}  # nothing but the name is used here
    data = {"blend": str(blend), "tokenizer": tokenizer, "template": template, "pack_tokens": pack_tokens}
    with TemporaryDirectory() as folder:
        config = Path(folder) / "prep.yaml"
        config.write_text(yaml.safe_dump({"out": str(out), "data": data, "stages": [stage]}), encoding="utf-8")
        return run_command("prep", config)


def push(blend: Path, name: str, private: bool) -> str:
    """Uploads the blend as the hub's dataset `name`, tagged with its release; its address.

    ConfigError where the hub refuses or has this release, EndpointError where it can't be reached.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise ConfigError("push needs the extra: pip install 'gristmill[hub]'.") from None
    if not _NAME.fullmatch(name):
        raise ConfigError(f"push: {name} is no name of a dataset, which is OWNER/DATASET.")
    release = str(_manifest(blend)["release"])
    api = HfApi()
    with TemporaryDirectory() as folder:
        out = Path(folder) / "hf"
        to_hf(blend, out, os.symlink)  # rows may be many gigabytes
        try:
            _upload(api, out, name, release, private)
        except GristmillError:
            raise
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in (401, 403):
                raise ConfigError(f"push: the hub refuses {name}; set HF_TOKEN to a token that may write it.") from None
            raise EndpointError(f"push: the hub doesn't take {name}: {_line(error)}") from error
        except Exception as error:  # whatever the HTTP library of this version of the client raises
            raise EndpointError(f"push: the hub can't be reached: {_line(error)}") from error
    return f"{api.endpoint}/datasets/{name}/tree/{release}"


def _upload(api: "HfApi", folder: Path, name: str, release: str, private: bool) -> None:
    """A release is never overwritten: its tag is looked for before a file is sent."""
    api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
    if release in {tag.name for tag in api.list_repo_refs(name, repo_type="dataset").tags}:
        raise ConfigError(f"push: {name} has the release {release}; set another `release` in the blend's config.")
    commit = api.upload_folder(
        folder_path=folder,
        repo_id=name,
        repo_type="dataset",
        commit_message=f"Release {release}",
        delete_patterns=["data/*.parquet"],
    )
    api.create_tag(name, tag=release, revision=commit.oid, repo_type="dataset")


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _blend_folder(folder: Path) -> Path:
    """The folder, if it is a blend and whole: what goes to others is not looked at again."""
    import pyarrow as pa

    if not (folder / "manifest.json").is_file() or not (folder / "train").is_dir():
        raise ConfigError(f"{folder} is no blend (it has no manifest.json and train/).")
    try:
        wanted = _manifest(folder)["rows"]
        there = sum(_rows(path) for split in SPLITS for path in (folder / split).glob("*.parquet"))
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise ConfigError(f"{folder} is damaged: {_line(error)}. Make it again by `gristmill blend`.") from None
    if there != wanted:
        raise ConfigError(f"{folder} holds {there:,} of its {wanted:,} rows. Make it again by `gristmill blend`.")
    return folder


def _manifest(blend: Path) -> dict[str, Any]:
    import orjson

    manifest: dict[str, Any] = orjson.loads((blend / "manifest.json").read_bytes())
    return manifest


def _configure_export(parser: ArgumentParser) -> None:
    parser.add_argument("blend", type=Path, metavar="BLEND", help="a blend's folder")
    parser.add_argument("--to", choices=["hf", "jsonl", "packed"], required=True, help="see above")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: BLEND-FORMAT beside it")
    parser.add_argument("--tokenizer", help="for packed, as in sft")
    parser.add_argument("--template", default="nemotron3", help="for packed, as in sft (default: nemotron3)")
    parser.add_argument("--pack-tokens", type=int, default=4096, help="for packed (default: 4096)")
    parser.description = (__doc__ or "").partition("\n\n")[2]


def _export(arguments: Namespace) -> int:
    blend = _blend_folder(arguments.blend)
    out = arguments.out or blend.with_name(f"{blend.name}-{arguments.to}")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out: {out} is not empty; remove it or choose another folder.")
    if arguments.to == "packed":
        if not arguments.tokenizer:
            raise ConfigError("--to packed needs --tokenizer, such as that of sft's data.")
        return to_packed(blend, out, arguments.tokenizer, arguments.template, arguments.pack_tokens)
    writers: dict[str, Callable[[Path, Path], None]] = {"hf": to_hf, "jsonl": to_jsonl}
    if out.exists():
        out.rmdir()
    writers[arguments.to](blend, out)
    print(f"exported   {out}")
    return 0


def _configure_push(parser: ArgumentParser) -> None:
    parser.add_argument("blend", type=Path, metavar="BLEND", help="a blend's folder")
    parser.add_argument("name", metavar="NAME", help="the dataset's name on the Hugging Face hub: OWNER/DATASET")
    parser.add_argument("--private", action="store_true", help="if the dataset is made anew, only its owner sees it")


def _push(arguments: Namespace) -> int:
    print(f"pushed     {push(_blend_folder(arguments.blend), arguments.name, arguments.private)}")
    return 0


export_command = Command(
    "a blend as a hub dataset, as JSON lines, or packed for training",
    _configure_export,
    _export,
    "gristmill blend-export blends/first --to jsonl",
)
push_command = Command(
    "upload a blend to the Hugging Face hub, tagged with its release",
    _configure_push,
    _push,
    "gristmill push blends/first my-lab/first-blend --private",
)
