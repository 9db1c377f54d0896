"""`explorer recommend`: which operating points to take within budgets, on the screen, for a report or for a program."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from explorer.commands.options import LATENCY, TrustOption, trusted_files
from explorer.commands.study_options import StorageOption, StudyArgument, open_study, remark_on
from explorer.front.rows import flat
from explorer.front.table import UNKNOWN
from explorer.front.table import cells as front_cells
from explorer.recommend import caveats
from explorer.recommend.budgets import NAMES, UNITS, Budgets, der_increase, within
from explorer.recommend.distance import DerDistance, Distance
from explorer.recommend.recommendation import Advice, Dominated, Recommendation
from explorer.recommend.recommendation import recommend as recommended_of
from explorer.recommend.roles import in_words
from explorer.recommend.test_split import TEST
from explorer.statistics.bootstrap import Interval
from explorer.statistics.differences import signed
from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Column, Table, names, print_table, sentences, words
from objectives.operating_point import Tracking, describe

# not numbers
LEFT = {"origin": names, "tracking": words, "pruning": words, "precision": words, "roles": sentences}


def recommend(
    study: StudyArgument,
    max_latency: Annotated[float | None, typer.Option(help=f"Largest latency in seconds: {LATENCY}.")] = None,
    max_size: Annotated[float | None, typer.Option(help="Largest segmentation model in MiB.")] = None,
    max_rtf: Annotated[float | None, typer.Option(help="Largest RTF (median).")] = None,
    max_der_increase: Annotated[
        str | None,
        typer.Option(help="Most errors above the baseline's: `5%`, or `0.05`. A bare number from 1 up is percent."),
    ] = None,
    tracking: Annotated[
        Tracking | None,
        typer.Option(help="Only points with this kind of tracking: names final after the latency, or at the end."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many points of lowest DER to recommend.", min=1)] = 3,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Score the points on the corpus' split *test*, each only once.")
    ] = True,
    trust: TrustOption = None,
    storage_url: StorageOption = None,
    format: Annotated[
        Literal["table", "json", "markdown"],
        typer.Option(help="`table` for people, `markdown` for a report, `json` for programs."),
    ] = "table",
) -> None:
    """Recommend operating points of a study within budgets, with reasons and caveats.

    From the points within all budgets that none of the others dominates (in DER, size and RTF), it recommends those of
    **lowest DER**, the **knee** (nearest to the ideal point), and the **smallest** whose DER cannot be distinguished
    from the lowest (paired bootstrap over recordings). Each comes with its distance to the baseline and to the paper's
    Linear-40 + FP16, with what it dominates, and with caveats.

    The search chose on *eval*, and the lowest of many DERs is partly luck. If the corpus has a split *test*, each
    recommended point is scored there once, with the baseline beside it; that DER is kept in the study and comes first.

    In a study of both modes, online points compete with chunk-wise ones, whose names are final only when the recording
    ends. If you need names earlier, give `--tracking online`: budgets, lowest DER, knee and ties then consider online
    points alone.

    If no point is within the budgets, it says which budget binds and by how much, and exits with 1.

        explorer recommend quickstart

        explorer recommend joint --max-latency 1.0 --max-size 1.0 --max-rtf 0.5

        explorer recommend joint --max-der-increase 5% --top 1 --format markdown >> report.md

        explorer recommend joint-online --tracking online --max-latency 1.0

        explorer recommend my-study.toml --no-test --format json
    """
    increase = None if max_der_increase is None else der_increase(max_der_increase)
    budgets = Budgets(max_latency, max_size, max_rtf, increase)
    loaded = open_study(study, storage_url)
    with progress() as show:
        advice = recommended_of(loaded, budgets, top, test, show, trusted_files(trust), tracking)
    remark_on(advice.left_out)
    match format:
        case "json":
            echo_json(as_json(advice))
        case "markdown":
            typer.echo(markdown(advice))
        case "table":
            print_advice(advice, screen())
    if advice.shortfall is not None:
        raise typer.Exit(1)


def as_json(advice: Advice) -> dict[str, Any]:
    """Return everything, with the rows flat."""
    recommendations = [dataclasses.asdict(one) | {"row": flat(one.row)} for one in advice.recommendations]
    nearest = None if advice.nearest is None else flat(advice.nearest)
    return dataclasses.asdict(advice) | {"recommendations": recommendations, "nearest": nearest}


def print_advice(advice: Advice, console: Console) -> None:
    """Print a table, and a paragraph for each point."""
    say(summary(advice), console)
    if advice.shortfall is not None:
        for line in shortfall_lines(advice):
            say(line, console)
        return
    table = Table(*map(_column, columns(advice)), keys=2)
    for one in advice.recommendations:
        table.add(*cells(one, advice))
    console.print()
    print_table(table, console)
    for one in advice.recommendations:
        console.print()
        say(title(one), console, "bold")
        for label, text in paragraph(one, advice):
            say(f"  {label}: {text}", console)
    console.print()
    for line in closing(advice):
        say(line, console)


def _column(header: str) -> Column:
    return LEFT[header](header) if header in LEFT else Column(header)


def markdown(advice: Advice) -> str:
    """Return the same as Markdown, to be pasted into a report."""
    from explorer.markdown import render  # imported late, since no other command needs Jinja

    headers = columns(advice)
    values = {
        "advice": advice,
        "summary": summary(advice),
        "shortfall": [] if advice.shortfall is None else list(shortfall_lines(advice)),
        "headers": headers,
        "alignments": ["---" if header in LEFT else "---:" for header in headers],
        "points": [
            {"title": title(one), "cells": cells(one, advice), "paragraph": paragraph(one, advice)}
            for one in advice.recommendations
        ],
        "closing": list(closing(advice)),
    }
    return render("explorer.commands", "recommend.md.j2", values)


def summary(advice: Advice) -> str:
    """`Within latency ≤ 1 s: 8 of 17 points, 5 of them dominated by none of the others.`"""
    points = "points" if advice.tracking is None else f"{advice.tracking} points"
    budget = f"Within {within(advice.limits)}" if advice.limits else "Without budgets"
    if "der" in advice.limits and advice.baseline_der:
        budget += f" ({100 * (advice.limits['der'] / advice.baseline_der - 1):.3g} % over the baseline's)"
    if advice.shortfall is not None:
        return f"{budget}: none of {advice.points} {points}."
    return f"{budget}: {advice.inside} of {advice.points} {points}, {advice.front} of them dominated by none of these."


def _percent(excess: float) -> str:
    """Format a share of a budget: `54.3 %`, `1,030 %`."""
    return f"{100 * excess:.3g} %" if excess < 10 else f"{100 * excess:,.0f} %"


def shortfall_lines(advice: Advice) -> Iterator[str]:
    """Say which budget binds and by how much."""
    assert advice.shortfall is not None, "asked for only if there is one"
    several = len(advice.shortfall.misses) > 1
    for miss in advice.shortfall.misses:
        limit = _quantity(miss.budget, miss.limit)
        if miss.reachable is None or miss.excess is None:
            yield f"{NAMES[miss.budget]}: giving up this budget alone would not help, since no point keeps the others"
            continue
        kept = "with the others kept, " if several else ""
        reached = f"{_quantity(miss.budget, miss.reachable)} (trial {miss.trial})"
        yield f"{NAMES[miss.budget]} binds: {kept}the least is {reached}, {_percent(miss.excess)} over {limit}"
    assert advice.nearest is not None, "a shortfall has a nearest point"
    by = ", ".join(f"{NAMES[name]} by {_percent(more)}" for name, more in advice.shortfall.excesses.items())
    yield f"Nearest is trial {advice.nearest.trial} ({describe(advice.nearest.point)}): over {by}"


def _quantity(name: str, value: float) -> str:
    return f"{value:.4g} {UNITS[name]}".rstrip()


def columns(advice: Advice) -> list[str]:
    """Return the headers of the table; the DER on test comes first if there is one."""
    ders = [f"DER % {advice.split}"]
    if any(one.test for one in advice.recommendations):
        ders.insert(0, f"DER % {TEST}")
    mode = ["tracking"] if _tells_mode(advice) else []
    return ["trial", "origin", "C s", "R s", "latency s", *mode, "pruning", "precision", *ders, "MiB", "RTF", "roles"]


def _tells_mode(advice: Advice) -> bool:
    return any(one.row.point.mode == "online" for one in advice.recommendations)


def cells(one: Recommendation, advice: Advice) -> list[str]:
    """Return one row of the table."""
    row, measured, known = one.row, one.row.figures, front_cells(one.row)
    ders = {
        f"DER % {advice.split}": f"{measured.der:.2f}",
        f"DER % {TEST}": UNKNOWN if one.test is None else f"{one.test.der:.2f}",
    }
    own = {
        "RTF": f"{measured.rtf:.4f}" + (" emulated" if row.emulated else ""),
        "roles": ", ".join(role.name for role in one.roles),
    }
    return [{**known, **ders, **own}[name] for name in columns(advice)]


def title(one: Recommendation) -> str:
    """`Trial 13 (search): C 2.51 s, R 0.168 s, Both-5, int4_ptq`."""
    origins = ", ".join([one.row.origin, *one.also])
    return f"Trial {one.row.trial} ({origins}): {describe(one.row.point)}"


def paragraph(one: Recommendation, advice: Advice) -> Iterator[tuple[str, str]]:
    """Yield (label, text) pairs that describe a point, without the caveats that all points share."""
    yield "why", "; ".join(role.reason for role in one.roles)
    if one.baseline is None:
        yield "beside the baseline", "which is not measured yet"
    else:
        yield "beside the baseline", _distance(one.baseline, one, advice.split)
    yield f"beside the paper's {one.published.name}", _beside_paper(one, advice.split)
    yield "dominates", _dominated(one.dominates)
    shared = _shared(advice)
    own = [caveat for caveat in one.caveats if caveat not in shared]
    if own:
        yield "caveats", "; ".join(own)


def _distance(distance: Distance, one: Recommendation, split: str) -> str:
    if distance.trial == one.row.trial:
        return "it is that point"
    parts = [f"DER on {split} {_der(distance.der)}"]
    if distance.test is not None:
        parts.insert(0, f"DER on {TEST} {_der(distance.test)}")
    parts.append(_smaller(distance.times_smaller))
    parts.append("RTF not comparable, emulated" if distance.rtf_ratio is None else f"RTF × {distance.rtf_ratio:.2f}")
    return "; ".join(parts)


def _beside_paper(one: Recommendation, split: str) -> str:
    """Describe the paper's point as measured here, if it was, and how far each is from its own baseline."""
    there, here = one.published, one.baseline
    published = f"{_smaller(there.times_smaller)} than its baseline at {signed(there.relative, 1)} % DER as published"
    if here is not None and here.trial != one.row.trial and (relation := here.test or here.der).relative is not None:
        published += f", this point {_smaller(here.times_smaller)} at {signed(relation.relative, 1)} %"
    if one.paper_point is None:
        return f"not measured here; {published}"
    return f"as measured here (trial {one.paper_point.trial}) {_distance(one.paper_point, one, split)}; {published}"


def _der(distance: DerDistance) -> str:
    relative = "" if distance.relative is None else f" ({signed(distance.relative, 1)} %)"
    return f"{signed(distance.points, 2)} points{relative}, {_interval(distance.interval)}"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "no interval, a single recording"
    return in_words(interval) + (", tied" if interval.contains_zero else "")


def _smaller(times: float) -> str:
    return f"{1 / times:.2f} × larger" if times < 1 else "as large" if times == 1 else f"{times:.2f} × smaller"


def _dominated(dominated: Sequence[Dominated]) -> str:
    """Name fixed points by origin and search trials by number."""
    fixed = [f"{', '.join(named)} ({one.trial})" for one in dominated if (named := _fixed(one))]
    searched = [str(one.trial) for one in dominated if not _fixed(one)]
    if searched:
        fixed.append(f"search {'trial' if len(searched) == 1 else 'trials'} {', '.join(searched)}")
    return "; ".join(fixed) or "nothing"


def _fixed(one: Dominated) -> list[str]:
    return [origin for origin in one.origins if origin != "search"]


def _shared(advice: Advice) -> tuple[str, ...]:
    """Return the caveats that all points share, to be printed once at the end."""
    every = [one.caveats for one in advice.recommendations]
    return caveats.common(every) if len(every) > 1 else ()


def closing(advice: Advice) -> Iterator[str]:
    """Yield what holds for all points: the split they were chosen on, how intervals were made, how to read them."""
    scored = [one for one in advice.recommendations if one.test is not None]
    if scored and scored[0].test is not None:
        beside = "" if advice.baseline_test is None else f" (the baseline's there: {advice.baseline_test.der:.2f} %)"
        yield (
            f"DER on {TEST}: {len(scored[0].test.recordings)} recordings that took no part in the search{beside}, "
            f"scored once and kept in the study. The points were chosen on {advice.split}, whose DER flatters them."
        )
    if advice.test.note:
        yield f"No DER on {TEST}{' of every point' if scored else ''}: {advice.test.note}."
    if shared := _shared(advice):
        yield f"Caveats of all of them: {'; '.join(shared)}."
    yield f"Intervals: {advice.method}. {' '.join(advice.notes)}".rstrip()
    if advice.recommendations:
        paper = advice.recommendations[0].published
        yield (
            f"The paper's {paper.name}: {paper.size:g} MiB and {paper.der:.2f} % DER, its baseline "
            f"{paper.baseline_size:g} MiB and {paper.baseline_der:.2f} %. {paper.source}"
        )
