"""Who works for a driver: the workers of a cluster, which must be alike, and their shares of their hosts' cores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from explorer.workers.worker_process import Greeting, Introduction
from objectives.errors import StudyError


@dataclass
class Member:
    """A worker of the cluster. state: `met` until it has introduced itself, then `ready` or, for good, `refused`.
    job: number of what it does."""

    state: Literal["met", "ready", "refused"] = "met"
    greeting: Greeting | None = None
    job: int | None = None


class Roster:
    """Workers by address, as they join and leave.

    All must be like the first one that introduces itself, as identity and versions tell. expected: workers that are to
    share the cores of one host, at least.
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
        """How many may be given work, busy ones included."""
        return sum(member.state == "ready" for member in self._members.values())

    @property
    def hopeful(self) -> bool:
        """Whether there is one that is ready, or may be soon."""
        return any(member.state != "refused" for member in self._members.values())

    @property
    def settled(self) -> bool:
        """Whether there is none that still has to introduce itself."""
        return all(member.state != "met" for member in self._members.values())

    @property
    def greeted(self) -> bool:
        """Whether each has said who it is, those that were refused excepted."""
        return all(member.greeting is not None for member in self._members.values() if member.state != "refused")

    @property
    def identity(self) -> Mapping[str, str]:
        """Of the evaluators of all. Raises StudyError where none has introduced itself yet."""
        if self._first is None:
            raise StudyError("no worker has told yet what it measures with: start one")
        return self._first[1].identity

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the packages of all; empty where none has introduced itself yet."""
        return {} if self._first is None else self._first[1].versions

    @property
    def remarks(self) -> tuple[str, ...]:
        """Of the first one's evaluator; empty where none has introduced itself yet."""
        return () if self._first is None else self._first[1].remarks

    def addresses(self) -> list[str]:
        """Of all."""
        return list(self._members)

    def free(self) -> list[str]:
        """Of those that are ready and do nothing."""
        return [address for address, member in self._members.items() if member.state == "ready" and member.job is None]

    def one_a_host(self) -> dict[str, str]:
        """Host and address of a ready worker on each host."""
        ready = {address: member for address, member in self._members.items() if member.state == "ready"}
        return {member.greeting.host: address for address, member in ready.items() if member.greeting is not None}

    def name(self, address: str) -> str:
        """`host:process` where it is known, else the address."""
        member = self._members.get(address)
        return str(member.greeting) if member is not None and member.greeting is not None else address

    def join(self, address: str) -> None:
        """One more, of which nothing is known yet."""
        self._members[address] = Member()

    def leave(self, address: str) -> Member:
        """It is gone."""
        return self._members.pop(address)

    def greet(self, address: str, greeting: Greeting) -> None:
        """It told who it is."""
        self._members[address].greeting = greeting
        neighbours = [member.greeting for member in self._members.values() if member.greeting is not None]
        sharing = sum((other.host, other.cores) == (greeting.host, greeting.cores) for other in neighbours)
        key = (greeting.host, greeting.cores)
        # never fewer again: one that died comes back, and meanwhile the others keep what they have built
        self._most[key] = max(sharing, self._most.get(key, self._expected))

    def introduce(self, address: str, introduction: Introduction) -> None:
        """It told what it measures with. Raises StudyError where that is not what the first one told."""
        member = self._members[address]
        assert member.greeting is not None
        if self._first is None:
            self._first = (member.greeting, introduction)
        first, told = self._first
        if lines := differences(told, introduction):
            raise StudyError(
                f"worker {member.greeting} differs from worker {first}, and trials of both cannot be compared:"
                f"{lines}\nUse workers of one kind."
            )
        member.state = "ready"

    def threads(self, address: str) -> int:
        """Threads of a worker's accuracy plane: its share of the cores that it may use."""
        greeting = self._members[address].greeting
        if greeting is None:
            return 1
        return max(1, len(greeting.cores) // self._most[greeting.host, greeting.cores])


def differences(one: Introduction, other: Introduction) -> str:
    """A line for each value that differs; empty where none does."""
    old, new = ({**told.identity, **{f"version of {name}": what for name, what in told.versions.items()}}
                for told in (one, other))  # fmt: skip
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "".join(f"\n  {key}: {old.get(key, '(absent)')} → {new.get(key, '(absent)')}" for key in keys)
