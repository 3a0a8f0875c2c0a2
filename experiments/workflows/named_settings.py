"""A name with settings on the command line, such as ``pgd:steps=50,restarts=3``."""

from __future__ import annotations

import json
from typing import Any


def name_and_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, values as in JSON.

    Raises:
        ValueError: a setting without ``=``, or a value that is not JSON.
    """
    name, _, words = text.partition(":")
    settings = {}
    for word in words.split(",") if words else ():
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} in {text!r} is not KEY=VALUE")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{value!r} in {text!r} is neither a number nor true, false or a text in quotes"
            ) from error
    return name, settings
