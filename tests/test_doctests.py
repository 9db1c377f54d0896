"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.test_layers import LAYERS, module_of, sources

WITH_EXAMPLES = [path for path in sources(*LAYERS) if "    >>> " in path.read_text()]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_of)
def test_examples(path: Path) -> None:
    result = doctest.testmod(importlib.import_module(module_of(path)))
    assert result.attempted > 0
    assert result.failed == 0
