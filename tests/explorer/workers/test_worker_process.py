"""Which evaluator a worker process answers with, without any cluster."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from explorer.workers import worker_process
from explorer.workers.worker_process import evaluator_for


@dataclass(frozen=True)
class Builder:
    """Builds evaluators that write down when they are opened and closed."""

    name: str
    heard: list[str] = field(default_factory=list, compare=False)

    def __call__(self, threads: int) -> "Evaluator":
        return Evaluator(f"{self.name}{threads}", self.heard)


@dataclass
class Evaluator:
    name: str
    heard: list[str]

    def __enter__(self) -> "Evaluator":
        self.heard.append(f"open {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self.heard.append(f"close {self.name}")


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker_process, "_open", None)
    yield
    worker_process.close()


def test_an_evaluator_serves_the_orders_of_one_driver_and_number_of_threads() -> None:
    heard: list[str] = []
    build = Builder("a", heard)
    first = evaluator_for("one", build, 2)
    unpickled = functools.partial(build)  # as in every order: no two are equal
    assert evaluator_for("one", unpickled, 2) is first
    assert heard == ["open a2"]
    for driver, threads in (("one", 1), ("other", 2)):  # whose recordings may be others
        other = evaluator_for(driver, build, threads)
        assert other is not first
        assert evaluator_for(driver, build, threads) is other
        first = evaluator_for("one", build, 2)
    # none is open beside another, since both would take memory
    closed = [word for word in heard if word.startswith("close")]
    opened = [word for word in heard if word.startswith("open")]
    assert heard[::2] == opened
    assert heard[1::2] == closed
    assert opened == ["open a2", "open a1", "open a2", "open a2", "open a2"]
