"""Does a rewording of a description ask the same? The words of such descriptions are in rewording.yaml."""

from pathlib import Path

from judges.rewording import Vocabulary

VOCABULARY = Vocabulary.read(Path(__file__).with_suffix(".yaml"))
EMPTY = VOCABULARY.empty


def check_rewording(rewording: str, template: str) -> list[str]:
    """What the rewording does to the template's sense; nothing where it asks the same."""
    return VOCABULARY.differences(rewording, template)
