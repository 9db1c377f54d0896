"""Markdown, made from the Jinja templates of a sub-package."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2


def render(package: str, template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template of a package's folder `templates`; what it leaves empty leaves no blank lines behind.

    Besides Jinja's own filters there are `cell` and `code`, and `f`, which formats a number: `{{ der | f(".2f") }}`.
    """
    text = _environment(package).get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def cell(text: object) -> str:
    """Escape text for Markdown and its tables."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", str(text)).replace("\n", " ")


def code(text: object) -> str:
    """Put text between backticks."""
    return f"`{str(text).replace('`', chr(39))}`"


@cache
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "code": code, "f": format}
    return environment
