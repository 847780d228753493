"""Which of a blend's sources a conversation comes from."""

from hashlib import md5
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gristmill.views import BLEND_FILE, connect

_ROWS = """
    SELECT md5_number_lower(uuid) AS key, (list_position($names, source) - 1)::USMALLINT AS source
    FROM samples WHERE split = $split ORDER BY ALL
"""


class Sources(NamedTuple):
    """The source of each row of a split, by a hash of its uuid: 10 bytes a row, since a blend may have millions."""

    names: list[str] = []  # of the whole blend's sources
    keys: NDArray[np.uint64] = np.empty(0, np.uint64)  # sorted
    numbers: NDArray[np.uint16] = np.empty(0, np.uint16)  # the source of each key, as its place in `names`

    @classmethod
    def of(cls, blend: Path, split: str) -> Self:
        """None are known where the blend's folder holds only rows."""
        if not (blend / BLEND_FILE).is_file():
            return cls()
        with connect(blend) as connection:
            found = connection.execute("SELECT DISTINCT source FROM samples ORDER BY source").fetchall()
            names = [name for (name,) in found]
            rows = connection.execute(_ROWS, {"names": names, "split": split}).fetchnumpy()
        return cls(names, rows["key"], rows["source"])

    def source(self, uuid: str) -> str:
        """ "" for a conversation that isn't among them."""
        key = np.uint64(int.from_bytes(md5(uuid.encode(), usedforsecurity=False).digest()[8:], "little"))
        place = int(np.searchsorted(self.keys, key))
        known = place < len(self.keys) and self.keys[place] == key
        return self.names[self.numbers[place]] if known else ""


NO_SOURCES = Sources()
