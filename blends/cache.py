"""What was found out about rows once is kept under a hash of everything that it depends on.

    ~/.cache/gristmill/blends/near/3f0c....parquet

So other weights, splits or orders cost no second comparison and no second tokenisation. Files appear by a rename, and
may be deleted at any time. GRISTMILL_CACHE names another folder.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill import folders
from schemas import content_hash


def cache_folder(kind: str) -> Path:
    folder = folders.cache_folder() / "blends" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(kind: str, depends_on: list[object], make: Callable[[], pa.Table]) -> pa.Table:
    """The table that `make` gives, or gave before for the same `depends_on`."""
    path = cache_folder(kind) / f"{content_hash([version('gristmill'), code_hash(), *depends_on])}.parquet"
    try:
        return pq.read_table(path)
    except (FileNotFoundError, pa.ArrowException):  # not there, or torn
        table = make()
        store_table(path, table)
        return table


def store_table(path: Path, table: pa.Table) -> None:
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        pq.write_table(table, file, compression="zstd")
    Path(file.name).replace(path)


@cache
def code_hash() -> str:
    """Changes where anything does that a finding may depend on."""
    home = Path(__file__).parents[1]
    files = [path for package in ("blends", "gristmill", "schemas") for path in sorted((home / package).rglob("*.py"))]
    return content_hash([path.read_text(encoding="utf-8") for path in files])
