"""Exercises that are copies of nothing: what a decontaminator must leave alone."""

import random
from collections.abc import Iterator

_LISTS = [
    ("keep the numbers that are {compare} {number}", "[v for v in {x} if v {sign} {number}]"),
    ("add {number} to each number", "[v + {number} for v in {x}]"),
    ("multiply each number by {number}", "[v * {number} for v in {x}]"),
    ("drop the first {small} numbers", "{x}[{small}:]"),
    ("keep the last {small} numbers", "{x}[-{small}:]"),
    ("sort the numbers", "sorted({x})"),
    ("sort the numbers from the largest to the smallest", "sorted({x}, reverse=True)"),
    ("remove repeated numbers, the first one stays", "list(dict.fromkeys({x}))"),
    ("replace each number by its remainder after division by {number}", "[v % {number} for v in {x}]"),
    ("take every {small} th number", "{x}[::{small}]"),
    ("replace negative numbers by zero", "[max(v, 0) for v in {x}]"),
    ("reverse the order", "{x}[::-1]"),
    ("put the number {number} at the end", "{x} + [{number}]"),
    ("pair each number with its position and keep the products", "[i * v for i, v in enumerate({x})]"),
]
_STRINGS = [
    ("turn the text to capital letters", "{x}.upper()"),
    ("remove the letter {letter}", '{x}.replace("{letter}", "")'),
    ("keep only the letters and digits", '"".join(c for c in {x} if c.isalnum())'),
    ("reverse the text", "{x}[::-1]"),
    ("swap the case of each letter", "{x}.swapcase()"),
    ("join the words with the sign {letter}", '"{letter}".join({x}.split())'),
    ("put the words into alphabetical order", '" ".join(sorted({x}.split()))'),
    ("keep words longer than {small} letters", '" ".join(w for w in {x}.split() if len(w) > {small})'),
    ("repeat the text {small} times", "{x} * {small}"),
    ("keep the first {number} characters", "{x}[:{number}]"),
    ("take every {small} th character", "{x}[::{small}]"),
    ("start each word with a capital letter", "{x}.title()"),
]
_NUMBERS = [
    ("add {number}", "{x} + {number}"),
    ("multiply by {number}", "{x} * {number}"),
    ("take the remainder after division by {number}", "{x} % {number}"),
    ("raise to the power of {small}", "{x} ** {small}"),
    ("sum up the digits", "sum(int(d) for d in str(abs({x})))"),
    ("replace the number by its distance from {number}", "abs({x} - {number})"),
    ("divide by {number} without a remainder", "{x} // {number}"),
    ("double the number if it is {compare} {number}", "{x} * 2 if {x} {sign} {number} else {x}"),
    ("write the digits backwards", "int(str(abs({x}))[::-1])"),
    ("limit the number to at most {number}", "min({x}, {number})"),
]
_ENDS = {
    "list": [("give the list back", "{x}"), ("return their sum", "sum({x})"), ("return how many are left", "len({x})"),
             ("return the largest, or {number} if there is none", "max({x}, default={number})")],
    "string": [("give the text back", "{x}"), ("return its length", "len({x})"),
               ("say whether the letter {letter} is in it", '"{letter}" in {x}')],
    "number": [("give the number back", "{x}"), ("say whether it is even", "{x} % 2 == 0"),
               ("return it as text", "str({x})")],
}  # fmt: skip
_KINDS = {"list": ("values", _LISTS), "string": ("text", _STRINGS), "number": ("n", _NUMBERS)}


def exercises(count: int, seed: int) -> Iterator[list[str]]:
    """Texts of `count` different records: two to four steps on a list, a string or a number."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        kind = rng.choice(sorted(_KINDS))
        argument, operators = _KINDS[kind]
        steps = rng.sample(operators, rng.randint(2, 4))
        chosen = [*steps, rng.choice(_ENDS[kind])]
        asked, lines, name = [], [], argument
        for number, (words, code) in enumerate(chosen):
            compare, sign = rng.choice([("above", ">"), ("below", "<"), ("at least", ">=")])
            values = {
                "number": rng.randint(3, 19), "small": rng.randint(2, 4), "letter": rng.choice("aeiost"),
                "compare": compare, "sign": sign, "x": name,
            }  # fmt: skip
            asked.append(words.format(**values))
            made = code.format(**values)
            last = number == len(chosen) - 1
            name = f"step{number + 1}"
            lines.append(f"    return {made}" if last else f"    {name} = {made}")
        question = f"Write a Python function that takes a {kind} and does this: {', then '.join(asked)}."
        if question not in seen:
            seen.add(question)
            body = "\n".join(lines)
            yield [question, f"```python\ndef solve({argument}):\n{body}\n```"]
