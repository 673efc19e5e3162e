"""What README.md shows, so that tests try what users copy."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def readme_block(language, mark):
    """Return the one code block in a language that has ``mark`` in it."""
    found = [code for name, code in _FENCE.findall(README.read_text()) if name == language and mark in code]
    assert len(found) == 1, f"{len(found)} blocks of {language} with {mark!r}"
    return found[0]


def fill_in(text, values):
    """Replace what a user would replace; every key must be there."""
    for placeholder, value in values.items():
        assert placeholder in text, placeholder
        text = text.replace(placeholder, str(value))
    return text
