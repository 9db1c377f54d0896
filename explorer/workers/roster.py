"""The workers of a cluster that a driver uses: they must be alike, and share the cores of their hosts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from explorer.workers.worker_process import Greeting, Introduction
from objectives.errors import StudyError


@dataclass
class Member:
    """A worker of the cluster. state: `met` until it has introduced itself, then `ready` or, permanently, `refused`.
    job: number of the job that it is doing."""

    state: Literal["met", "ready", "refused"] = "met"
    greeting: Greeting | None = None
    job: int | None = None


class Roster:
    """Workers by address, as they join and leave.

    All must have the identity and versions of the first worker that introduces itself. expected: how many workers at
    least will share the cores of one host.
    """

    def __init__(self, expected: int):
        self._expected = expected
        self._members: dict[str, Member] = {}
        self._first: tuple[Greeting, Introduction] | None = None
        self._most: dict[tuple[str, frozenset[int]], int] = {}  # workers seen together on these cores of a host

    def __getitem__(self, address: str) -> Member:
        return self._members[address]

    def __contains__(self, address: str) -> bool:
        return address in self._members

    @property
    def ready(self) -> int:
        """Number of workers that can be given work, busy ones included."""
        return sum(member.state == "ready" for member in self._members.values())

    @property
    def hopeful(self) -> bool:
        """Whether a worker is ready, or may be soon."""
        return any(member.state != "refused" for member in self._members.values())

    @property
    def settled(self) -> bool:
        """Whether every worker has either introduced itself or been refused."""
        return all(member.state != "met" for member in self._members.values())

    @property
    def greeted(self) -> bool:
        """Whether every worker has sent its greeting, refused ones excepted."""
        return all(member.greeting is not None for member in self._members.values() if member.state != "refused")

    @property
    def identity(self) -> Mapping[str, str]:
        """The identity of all workers' evaluators. Raises StudyError if no worker has introduced itself yet."""
        if self._first is None:
            raise StudyError("no worker has told yet what it measures with: start one")
        return self._first[1].identity

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of all workers' packages; empty if no worker has introduced itself yet."""
        return {} if self._first is None else self._first[1].versions

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks of the first worker's evaluator; empty if no worker has introduced itself yet."""
        return () if self._first is None else self._first[1].remarks

    def addresses(self) -> list[str]:
        """Return the addresses of all workers."""
        return list(self._members)

    def free(self) -> list[str]:
        """Return the addresses of workers that are ready and have no job."""
        return [address for address, member in self._members.items() if member.state == "ready" and member.job is None]

    def one_a_host(self) -> dict[str, str]:
        """Return the address of one ready worker for each host."""
        ready = {address: member for address, member in self._members.items() if member.state == "ready"}
        return {member.greeting.host: address for address, member in ready.items() if member.greeting is not None}

    def name(self, address: str) -> str:
        """Return `host:process` if it is known, else the address."""
        member = self._members.get(address)
        return str(member.greeting) if member is not None and member.greeting is not None else address

    def join(self, address: str) -> None:
        """Add a worker about which nothing is known yet."""
        self._members[address] = Member()

    def leave(self, address: str) -> Member:
        """Remove a worker that is gone."""
        return self._members.pop(address)

    def greet(self, address: str, greeting: Greeting) -> None:
        """Record a worker's greeting."""
        self._members[address].greeting = greeting
        neighbours = [member.greeting for member in self._members.values() if member.greeting is not None]
        sharing = sum((other.host, other.cores) == (greeting.host, greeting.cores) for other in neighbours)
        key = (greeting.host, greeting.cores)
        # the number never decreases: a worker that died is restarted, and the others keep their evaluators
        self._most[key] = max(sharing, self._most.get(key, self._expected))

    def introduce(self, address: str, introduction: Introduction) -> None:
        """Record what a worker measures with. Raises StudyError if it differs from the first worker."""
        member = self._members[address]
        assert member.greeting is not None
        if self._first is None:
            self._first = (member.greeting, introduction)
        first, expected = self._first
        if lines := differences(expected, introduction):
            raise StudyError(
                f"worker {member.greeting} differs from worker {first}, and trials of both cannot be compared:"
                f"{lines}\nUse workers of one kind."
            )
        member.state = "ready"

    def threads(self, address: str) -> int:
        """Return the number of threads of a worker's accuracy plane: its share of the cores that it may use."""
        greeting = self._members[address].greeting
        if greeting is None:
            return 1
        return max(1, len(greeting.cores) // self._most[greeting.host, greeting.cores])


def differences(first: Introduction, other: Introduction) -> str:
    """Return a line for each value that differs; empty if none does."""
    old, new = _values(first), _values(other)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "".join(f"\n  {key}: {old.get(key, '(absent)')} → {new.get(key, '(absent)')}" for key in keys)


def _values(introduction: Introduction) -> dict[str, str]:
    return {
        **introduction.identity,
        **{f"version of {name}": version for name, version in introduction.versions.items()},
    }
