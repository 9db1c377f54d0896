"""Why an operating point is not measured to the end. A module of its own, since it needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stop:
    """Why an operating point is not measured to the end. reason: in words. kind: `limit` where it passes a hard budget,
    `raced` where another one beats it. told: the figures behind it, as JSON."""

    kind: str
    reason: str
    told: Mapping[str, Any] = field(default_factory=dict)
