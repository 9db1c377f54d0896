"""Who works for a driver, without any worker."""

import pytest

from explorer.workers.roster import Member, Roster
from explorer.workers.worker_process import Greeting, Introduction
from objectives.errors import StudyError

ALIKE = Introduction({"corpus": "c 1"}, {"python": "3.11.7", "torch": "2.13.0"})


def roster_of(*greetings: Greeting, expected: int = 1) -> Roster:
    """Addresses are `0`, `1`, …; all have told who they are, none what it measures with."""
    roster = Roster(expected)
    for address, greeting in enumerate(greetings):
        roster[str(address)] = Member()
        roster.greet(str(address), greeting)
    return roster


@pytest.mark.parametrize(
    ("cores", "expected", "threads"),
    [
        # two on one host share its four cores; one that is alone on another host has all of its own
        ([("a", range(4)), ("a", range(4)), ("b", range(4))], 1, [2, 2, 4]),
        # a scheduler of jobs gave each its own cores
        ([("a", range(2)), ("a", range(2, 4))], 1, [2, 2]),
        # more workers than cores, and an odd core out
        ([("a", range(2))] * 3, 1, [1, 1, 1]),
        ([("a", range(5))] * 2, 1, [2, 2]),
        # more are on their way
        ([("a", range(8))], 4, [2]),
    ],
)
def test_workers_share_the_cores_that_they_have_in_common(
    cores: list[tuple[str, range]], expected: int, threads: list[int]
) -> None:
    greetings = [Greeting(host, number, frozenset(own)) for number, (host, own) in enumerate(cores)]
    roster = roster_of(*greetings, expected=expected)
    assert [roster.threads(str(address)) for address in range(len(cores))] == threads


def test_who_leaves_keeps_a_share_for_who_comes_instead() -> None:
    one, other, instead = (Greeting("a", process, frozenset(range(4))) for process in (1, 2, 3))
    roster = roster_of(one, other)
    del roster["1"]
    assert roster.threads("0") == 2
    roster["2"] = Member()
    roster.greet("2", instead)
    assert roster.threads("0") == roster.threads("2") == 2


def test_those_that_differ_from_the_first_are_refused_with_both_values() -> None:
    roster = roster_of(*(Greeting("host", process, frozenset({0})) for process in (7, 8, 9)))
    assert roster.first is None
    roster.introduce("0", ALIKE)
    roster.introduce("1", ALIKE)
    assert list(roster.ready()) == ["0", "1"]
    other = Introduction({"corpus": "c 2", "split": "eval"}, {"python": "3.11.7", "torch": "2.12.0"})
    with pytest.raises(StudyError) as refused:
        roster.introduce("2", other)
    assert str(refused.value).splitlines() == [
        "worker host:9 differs from worker host:7, and trials of both cannot be compared:",
        "  corpus: c 1 → c 2",
        "  version of torch: 2.13.0 → 2.12.0",
        "  split: (absent) → eval",
        "Use workers of one kind.",
    ]
    assert roster.first[1].identity == {"corpus": "c 1"}
    assert len(roster.ready()) == 2


def test_the_first_stays_the_measure_after_it_left() -> None:
    roster = roster_of(Greeting("host", 1, frozenset({0})), Greeting("host", 2, frozenset({0})))
    roster.introduce("0", ALIKE)
    del roster["0"]
    with pytest.raises(StudyError, match="differs from worker host:1"):
        roster.introduce("1", Introduction({"corpus": "c 2"}, ALIKE.versions))


def test_one_worker_of_each_host_is_found_among_those_that_are_ready() -> None:
    roster = roster_of(*(Greeting(host, 1, frozenset({0})) for host in "aabc"))
    for address in "013":
        roster.introduce(address, ALIKE)
    roster["2"].state = "refused"
    found = roster.one_a_host()
    assert sorted(found) == ["a", "c"]
    assert found["a"] in ("0", "1")
