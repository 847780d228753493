"""duplicates: of records that say the same in one field, the first in task order stays.

    {name: duplicates, of: metadata.title}      of: question (the default), answer, conversation ...

"The same" is after normalisation (judges.votes): case, spacing, articles and end punctuation make no difference. A
record without the field stays. Sixteen bytes are kept per record.

Source: Nemotron 3 Super report (arXiv 2604.12374), algorithmic problems: dedup on a title of five to eight words.
"""

from hashlib import blake2b

from gristmill import Config, Record, RunJudge, Verdict
from judges.fields import FieldPath, lookup
from judges.votes import normalised


class Params(Config):
    of: FieldPath = "question"


class Duplicates(RunJudge[Params]):
    name = "duplicates"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._seen: set[bytes] = set()

    def verdict(self, record: Record) -> Verdict:
        value = lookup(record, self.params.of)
        if value in (None, ""):
            return Verdict(name=self.name, passed=True, reason=f"no {self.params.of}")
        digest = blake2b(normalised(str(value)).encode(), digest_size=16).digest()
        if digest in self._seen:
            reason = f"an earlier record has the same {self.params.of}"
            return Verdict(name=self.name, passed=False, score=0.0, reason=reason)
        self._seen.add(digest)
        return Verdict(name=self.name, passed=True, score=1.0)
