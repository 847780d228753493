"""The final answer that a reply claims, read from the many ways in which models state one.

    "... so the area is \\\\boxed{12\\\\text{ cm}^2}."        12 cm^2
    "**Final Answer:** 3/4"   "#### 72"   "The answer is 42."   "Hence x = **7**."
    "The answer is B) nitrogen"                            B, of the options
    "Answer: 42. Wait, that is wrong"                      nothing: what is taken back is no claim

A claim is *explicit* where the reply marks it as its answer, else it is what the last sentence comes to.

Source: the graders of MATH (arXiv 2103.03874) and GSM8K (arXiv 2110.14168) look for such marks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from judges.sameness import same

LETTERS = "ABCDEFGHIJ"
SHORT = 60
"""Characters: a reply of one line that is no longer is its own answer."""

_MARKS = r"[ \t*_#>`]*"
_LABEL = r"(?:(?:the|my|so the|therefore,? the)[ ]+)?(?:(?:final|correct|right|best)[ ]+)?(?:answer|option|choice)"
_LINE = re.compile(
    rf"^{_MARKS}{_LABEL}{_MARKS}(?:[ ]is)?{_MARKS}[:=→]{_MARKS}\n*{_MARKS}(?P<claim>\S[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(
    rf"^[ \t]*(?:\*\*|#)[ \t*_#]*{_LABEL}{_MARKS}\n+{_MARKS}(?:\$\$|\\\[)?\s*(?P<claim>\S[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_HASHES = re.compile(r"^####[ ]+(?P<claim>\S[^\n]*)$", re.MULTILINE)
_SENTENCE = re.compile(
    r"\b(?:final|correct|right|best)?[ ]?(?:answer|option|choice|result|solution)"
    r"[ ](?:is|was|equals|comes to|would be|must be)"
    r"(?![ ](?:not|n't|wrong|incorrect|either|probably|perhaps|maybe|unclear|none))"
    r"(?:[ ]*:\s*|[ ]+)(?P<claim>(?!:)\S[^\n]*?)"
    r"(?=\.(?:\s|\*|$)|[;!](?:\s|$)|,? (?:because|since|as|so|which|where|not)\b|\n|$)",
    re.IGNORECASE,
)
_MARKED = (_LINE, _HEADING, _HASHES, _SENTENCE)
_BOLD = re.compile(r"\*\*(?P<claim>[^*\n]{1,80}?)[.:,]?\*\*")
_EQUALS = re.compile(r"(?:=|≈|\\approx)[ ]*(?P<claim>[^=≈\n]{1,60}?)(?=[.,;!]?(?:\s*$|[.;!]\s)|[ ]*(?:\$|\\\]|\\\)))")
_SEVERAL = re.compile(r"=[^.;=]*\b(?:or|and)\b[^.;]*=")
_IS = re.compile(
    r"^(?:(?:the|this|that|these|a|an|it|they)\b[^.:;]*?|[A-Z][\w' -]{0,60}?) (?:is|are|was|were) "
    r"(?:called |known as |named |most likely )?(?P<claim>(?!not\b)[^,;:()]{1,60}?)[.!]?$",
    re.IGNORECASE,
)
_RETRACTED = re.compile(
    r"(?:^|[.!?:;,\n–—−-])\s*wait\b"
    r"|\b(?:(?:no|oh|but|hmm),? wait|correction(?=:)|(?:made|my|there is|there's)(?: a)? mistake|scratch that"
    r"|that(?:'s| is| was) (?:wrong|incorrect|not right)|on second thought|i misread"
    r"|should (?:actually )?(?:be|have been)|actually[,:]? (?:it|the|no)|or (?:maybe|perhaps|possibly))\b",
    re.IGNORECASE,
)
_OPTION_LINE = re.compile(r"[*_`(\[]*(?P<letter>[A-J])(?:[)\].:*_`]+[ ]*(?P<said>.*)|$)")
_NEXT_SENTENCE = re.compile(r"(?<=[\w}$]{2})\.\s+(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Claim:
    text: str
    explicit: bool


def read_claim(reply: str) -> Claim | None:
    """The last answer that a reply marks, or what its last paragraph comes to; None where it claims nothing."""
    boxed = _boxes(reply)
    marked = [match for pattern in _MARKED for match in pattern.finditer(reply, boxed[-1][1] if boxed else 0)]
    if marked:
        last = max(marked, key=lambda match: match.start("claim"))
        return _unless_retracted(reply, _bare(last["claim"]), last.end())
    if boxed:
        return _unless_retracted(reply, _last_boxes(reply, boxed), boxed[-1][1])
    text = reply.strip()
    paragraph = re.split(r"\n\s*\n", text)[-1]
    for pattern in (_BOLD, _EQUALS) if not _SEVERAL.search(paragraph) else ():
        found = list(pattern.finditer(paragraph))
        if found and not _RETRACTED.search(paragraph, found[-1].end()):
            return Claim(_bare(found[-1]["claim"]), False)
    is_short = "\n" not in text and len(text) <= SHORT and not _RETRACTED.search(text)
    return _said(text) or (Claim(_bare(text), False) if is_short else None)


def final_answer(reply: str) -> str:
    """What a reply marks as its answer, else all of it."""
    claim = read_claim(reply)
    return claim.text if claim and claim.explicit else reply.strip()


def _said(text: str) -> Claim | None:
    """What a reply of a sentence says that something is; of several without figures the first sentence says it."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    if (len(sentences) > 1 and re.search(r"\d", text)) or _RETRACTED.search(text):
        return None
    found = _IS.match(sentences[0])
    return Claim(_bare(found["claim"]), False) if found else None


def read_letter(reply: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that a reply claims; None where it claims none, several, or contradicts itself."""
    letters = LETTERS[: len(choices)]
    claim = read_claim(reply)
    if claim is None or not claim.explicit:
        led = _leading(reply, choices)
        if led or claim is None:
            return led or _named_last(reply, letters)
    text = _unwrapped(claim.text)
    by_text = [letter for letter, choice in zip(letters, choices, strict=True) if same(choice, text)]
    if len(by_text) == 1 and not (len(text) == 1 and text.upper() in letters):
        return by_text[0]
    head = re.match(
        rf"(?i:option |choice )?[(\[]?(?P<letter>[{letters}{letters.lower()}])(?P<after>[)\].:,]|$|[ ](?=[-–—(]))", text
    )
    if head is None:
        return None if claim.explicit else _named_last(reply, letters)
    letter, rest = head["letter"].upper(), text[head.end() :].strip(" .:-–—()")
    if re.search(rf"(?:\bor\b|\band\b|[/&,])[ ]*(?:option )?[(]?[{letters}]\b", text[head.end("letter") :]):
        return None
    said = [one for one, choice in zip(letters, choices, strict=True) if rest and same(choice, rest)]
    return letter if not said or letter in said else None


def _leading(reply: str, choices: Sequence[str]) -> str | None:
    """The option that stands alone in the first line, before an explanation; not where the reply lists several."""
    lines = [match for line in reply.strip().splitlines() if (match := _OPTION_LINE.match(line.strip()))]
    if len(lines) != 1 or not reply.strip().startswith(lines[0][0]):
        return None
    letter, said = lines[0]["letter"], _bare(lines[0]["said"] or "")
    fits = letter in LETTERS[: len(choices)] and (not said or same(choices[LETTERS.index(letter)], said))
    agrees = _named_last(reply, LETTERS[: len(choices)]) in (None, letter)
    return letter if fits and agrees and not _RETRACTED.search(reply) else None


def _named_last(reply: str, letters: str) -> str | None:
    """The one option that the last sentence with an option calls right."""
    pattern = (
        rf"(?:option|choice|answer) [(]?(?P<one>[{letters}])\b|[(](?P<two>[{letters}])[)]"
        rf"|\b(?P<three>[{letters}]) is (?:the )?(?:correct|right|best)"
    )
    for sentence in reversed(re.split(r"(?<=[.!?])\s+|\n+", reply.strip())):
        found = {match["one"] or match["two"] or match["three"] for match in re.finditer(pattern, sentence)}
        if found:
            denied = re.search(r"\b(?:not|n't|wrong|incorrect|except|rather than|unlike)\b", sentence)
            return found.pop() if len(found) == 1 and not denied else None
    return None


def _boxes(text: str) -> list[tuple[str, int]]:
    """(content, end) of each \\boxed{...}; what is boxed in a box is no box of its own."""
    found, start = [], 0
    while (start := text.find("\\boxed{", start)) >= 0:
        begin, depth = start + len("\\boxed{"), 1
        for position in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                found.append((text[begin:position].strip(), position + 1))
                begin = position
                break
        start = begin
    return found


def _last_boxes(text: str, boxes: list[tuple[str, int]]) -> str:
    """The last box; with those of the same paragraph, where an answer has several parts."""
    begin = max((match.end() for match in re.finditer(r"\n\s*\n", text[: boxes[-1][1]])), default=0)
    together = dict.fromkeys(content for content, end in boxes if end > begin)
    return ", ".join(together)


def _unless_retracted(reply: str, claim: str, end: int) -> Claim | None:
    taken_back = _RETRACTED.search(reply, end) or _RETRACTED.search(claim)
    return None if taken_back or not claim else Claim(_NEXT_SENTENCE.split(claim)[0], True)


def _bare(text: str) -> str:
    """Without the marks and quotes around it, and the full stop after it."""
    text = text.strip().strip("*_`# \t").strip()
    return re.sub(r"(?<!\.)[.;]+$|(?<!\d)!+$", "", text).strip().strip("*_`").strip()


def _unwrapped(text: str) -> str:
    """A letter may come as \\text{B}, $B$ or \\textbf{(B)}."""
    return re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text).strip("$ *`").removesuffix(".")
