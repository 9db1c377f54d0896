"""The workers of a cluster that a driver uses: they must be alike, and share the cores of their hosts."""

from dataclasses import dataclass
from typing import Any, Literal

from explorer.workers.worker_process import Greeting, Introduction
from objectives.errors import StudyError


@dataclass
class Member:
    """A worker of the cluster. state: `met` until it has introduced itself, then `ready` or, permanently, `refused`.
    job: what it is doing."""

    state: Literal["met", "ready", "refused"] = "met"
    greeting: Greeting | None = None
    job: Any = None


class Roster(dict[str, Member]):
    """Workers by address, as they join and leave.

    All must have the identity and versions of the first worker that introduces itself. expected: how many workers at
    least will share the cores of one host.
    """

    def __init__(self, expected: int):
        super().__init__()
        self.first: tuple[Greeting, Introduction] | None = None
        self._expected = expected
        self._most: dict[tuple[str, frozenset[int]], int] = {}  # workers seen together on these cores of a host

    def ready(self) -> dict[str, Member]:
        """Return the workers that can be given work, busy ones included."""
        return {address: member for address, member in self.items() if member.state == "ready"}

    def one_a_host(self) -> dict[str, str]:
        """Return the address of one ready worker for each host."""
        return {
            member.greeting.host: address for address, member in self.ready().items() if member.greeting is not None
        }

    def name(self, address: str) -> str:
        """Return `host:process` if it is known, else the address."""
        member = self.get(address)
        return address if member is None or member.greeting is None else str(member.greeting)

    def greet(self, address: str, greeting: Greeting) -> None:
        """Record a worker's greeting."""
        self[address].greeting = greeting
        key = (greeting.host, greeting.cores)
        neighbours = [member.greeting for member in self.values() if member.greeting is not None]
        sharing = sum((other.host, other.cores) == key for other in neighbours)
        # the number never decreases: a worker that died is restarted, and the others keep their evaluators
        self._most[key] = max(sharing, self._most.get(key, self._expected))

    def introduce(self, address: str, introduction: Introduction) -> None:
        """Record what a worker measures with. Raises StudyError if it differs from the first worker."""
        member = self[address]
        assert member.greeting is not None
        self.first = first, expected = self.first or (member.greeting, introduction)
        if lines := differences(expected, introduction):
            raise StudyError(
                f"worker {member.greeting} differs from worker {first}, and trials of both cannot be compared:"
                f"{lines}\nUse workers of one kind."
            )
        member.state = "ready"

    def threads(self, address: str) -> int:
        """Return the number of threads of a worker's accuracy plane: its share of the cores that it may use."""
        greeting = self[address].greeting
        assert greeting is not None
        return max(1, len(greeting.cores) // self._most[greeting.host, greeting.cores])


def differences(first: Introduction, other: Introduction) -> str:
    """Return a line for each value that differs; empty if none does."""
    old, new = (
        {**one.identity, **{f"version of {name}": version for name, version in one.versions.items()}}
        for one in (first, other)
    )
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "".join(f"\n  {key}: {old.get(key, '(absent)')} → {new.get(key, '(absent)')}" for key in keys)
