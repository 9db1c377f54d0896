"""StudyDefinition: what one study searches, read and validated from TOML."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.errors import OperatingPointError, StudyError, ascii_controls, quoted, reason_of, shortened
from objectives.evaluation.settings import EvaluatorSettings
from objectives.machine import Device
from objectives.operating_point import PRECISIONS, UNPRUNED, Precision
from studies.fixed_points import (
    FixedPoint,
    baseline_point,
    online_twin,
    precision_point,
    pruning_of,
    sweep,
    swept_point,
    variant_point,
)
from studies.paper_results import TABLE1
from studies.search_space import SearchSpace, outside
from studies.sections import CHOICES, Cost, Fixed, Limits, Models, Pruning, Quantization, Racing, Recovery, Table

Sampler = Literal["tpe", "random", "nsga2", "gp"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)

# None of these changes what is searched or how it is measured: they may differ from one run of a study to the next.
BUDGET = ("trials", "timeout", "stop_after_failures", "racing")
REMARKS = ("description",)

LONGEST_NAME = 512  # characters, in Optuna's tables
MOST_COMPLAINTS = 5  # about one file, in one message


class StudyDefinition(Table):
    """One study. trials: search trials only, fixed points are extra. timeout: seconds of one run, or None.

    stop_after_failures: a run stops after this many failed trials in a row; 0 for never.
    """

    description: str = ""
    corpus: str = "ami-excerpts"
    split: str = "eval"
    sampler: Sampler = "tpe"
    seed: int = Field(default=0, ge=0)
    trials: int = Field(default=50, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    stop_after_failures: int = Field(default=5, ge=0)
    space: SearchSpace = SearchSpace()
    fixed: Fixed = Fixed()
    models: Models = Models()
    pruning: Pruning = Pruning()
    recovery: Recovery = Recovery()
    quantization: Quantization = Quantization()
    cost: Cost = Cost()
    limits: Limits = Limits()
    racing: Racing = Racing()

    @model_validator(mode="after")
    def _offline_has_no_latency(self) -> "StudyDefinition":
        if self.space.mode == "offline" and self.limits.latency is not None:
            raise ValueError("an offline study has no latency to limit: leave limits.latency out")
        return self

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Rows of Table 2 that are fixed points."""
        return PRECISIONS if "table2" in self.fixed.tables else self.fixed.precisions

    @property
    def variants(self) -> tuple[str, ...]:
        """Pruned and unpruned variants that are fixed points: those of `fixed`, and what a choice on `eval` needs."""
        named = dict.fromkeys((*(TABLE1 if "table1" in self.fixed.tables else ()), *self.fixed.variants))
        if self.precisions and self.fixed.table2_variant == "eval" and not _pruned(named):
            named |= dict.fromkeys(TABLE1)
        return tuple(named)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The pruned variants that Table 2 may be about; empty if the study has no row of it."""
        if not self.precisions:
            return ()
        if self.fixed.table2_variant not in CHOICES:
            return (self.fixed.table2_variant,)
        return _pruned(self.variants) or _pruned(TABLE1)

    @property
    def chooses(self) -> bool:
        """Whether Table 2's variant is chosen by DER while the study runs."""
        return bool(self.precisions) and self.fixed.table2_variant in CHOICES

    def fixed_points_for(self, variant: str | None) -> tuple[FixedPoint, ...]:
        """Return the fixed points: the baseline first, then the sweeps and the values of `fixed`, once for each way of
        tracking speakers, the tables last; each origin once.

        variant: the one chosen for Table 2, whose rows are left out as long as it is None and not named in `fixed`.
        """
        mode, online = self.space.modes[0], self.space.online
        points = [baseline_point(mode, online)]
        swept = [point for name in self.fixed.sweeps for point in sweep(name)]
        swept += [swept_point("figure1", value) for value in self.fixed.right_context]
        swept += [swept_point("figure2", value) for value in self.fixed.chunk_length]
        if "online" not in self.space.modes or "chunk-wise" in self.space.modes:
            points += swept
        if "online" in self.space.modes:
            points += [online_twin(fixed, online) for fixed in (*points[:1], *swept) if fixed.point.mode != "online"]
        points.extend(variant_point(name, mode, online) for name in self.variants)
        chosen = variant if self.chooses else self.fixed.table2_variant
        if chosen is not None:
            points.extend(precision_point(precision, chosen, mode, online) for precision in self.precisions)
        return tuple({fixed.origin: fixed for fixed in points}.values())

    def compression_settings(self) -> CompressionSettings:
        """Return how every model of the study is made."""
        return CompressionSettings(
            recovery=RecoverySettings(**self.recovery.model_dump()),
            quantization=QuantizationOptions(**self.quantization.model_dump()),
            iterations=self.pruning.iterations,
            seed=self.seed,
        )

    def evaluator_settings(self, device: Device = "cpu", trusted: frozenset[str] = frozenset()) -> EvaluatorSettings:
        """Return the settings that the study's trials are measured with.

        device, trusted: given on the command line, never by the study itself.
        """
        return EvaluatorSettings(
            corpus=self.corpus,
            split=self.split,
            seed=self.seed,
            compression=self.compression_settings(),
            device=device,
            trusted=trusted,
            tracking=self.space.thresholds_to_complete,
            **self.models.model_dump(),
            **self.cost.model_dump(),
        )

    def identity(self) -> dict[str, Any]:
        """Return everything that trials of one study must share, flat: `space.chunk_length` → [0.1, 5.0]."""
        settings = self.model_dump(mode="json", exclude={*BUDGET, *REMARKS})
        return _flat(settings)

    def vary(self, source: str, **changes: Any) -> "StudyDefinition":
        """Return this definition with `changes` that are not None applied and validated; a mapping is merged.

        source: what asks for the changes, for the error. Raises StudyError.
        """
        changed = self.model_dump(mode="json")
        for key, value in changes.items():
            if isinstance(value, Mapping):
                changed[key] = changed[key] | value
            elif value is not None:
                changed[key] = value
        return parse(changed, source)


def parse(data: Mapping[str, Any], source: str) -> StudyDefinition:
    """Parse a definition from plain data. source: file or option it came from, for the error. Raises StudyError."""
    try:
        # through JSON, so that pydantic is strict about types and still accepts a list for a tuple
        definition = StudyDefinition.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        complaints = [_complaint(problem) for problem in error.errors()[:MOST_COMPLAINTS]]
        more = error.error_count() - len(complaints)
        if more:
            complaints.append(f"correct these, and {more} more will be shown")
        raise StudyError(f"{source}: " + "; ".join(complaints)) from error
    try:
        # every variant that Table 2 may be about must fit as well: its points differ between candidates
        possible = [definition.fixed_points_for(variant) for variant in definition.candidates or (None,)]
    except OperatingPointError as error:
        raise StudyError(f"{source}: [fixed] {error}") from error
    for fixed in chain.from_iterable(possible):
        if why := outside(fixed.point, definition.space):
            raise StudyError(
                f"{source}: the fixed point {fixed.origin} does not lie in the search space: {why}. "
                "Widen [space] so that it holds every fixed point and the baseline (C = 1 s, R = 0, unpruned, fp32), "
                "or leave the point out; to keep the search low-latency use [limits] latency instead"
            )
    return definition


def read(path: Path) -> StudyDefinition:
    """Read a TOML file. Raises StudyError naming the file, the key and what is known instead."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8 text") from error
    # ValueError includes TOMLDecodeError, and a number of thousands of digits; RecursionError is for deep nesting
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: is not TOML ({reason_of(error)}): correct it there") from error
    return parse(data, str(path))


def packaged() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    folder = Path(str(files("studies")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(study: str) -> tuple[str, StudyDefinition]:
    """Return (name, definition) for a packaged study's name or a path that ends in .toml. Raises StudyError."""
    if study.endswith(".toml"):
        return Path(study).stem, read(Path(study))
    known = packaged()
    if study not in known:
        raise StudyError(f"no study is named {study!r}: use one of {', '.join(known)}, or the path of a .toml file")
    return study, read(known[study])


def checked_name(name: str) -> str:
    """Check a name for a study. Raises StudyError if commands could not refer to it, or if it is empty."""
    given = f"--name {quoted(name)}"
    if name.endswith(".toml") or "/" in name or "\\" in name:
        raise StudyError(
            f"{given} looks like a file, which other commands would take it for: give one without a slash or .toml"
        )
    if not name.strip() or not name.isprintable():
        raise StudyError(f"{given}: give the study a name that can be read and typed, such as my-study")
    if len(name) > LONGEST_NAME:
        raise StudyError(f"{given} has {len(name)} characters: give one of {LONGEST_NAME} at most")
    return name


def name_of(study: str) -> str:
    """Return the study name that STUDY on the command line means: itself, or the stem of a .toml path."""
    return Path(study).stem if study.endswith(".toml") else study


def _pruned(variants: Iterable[str]) -> tuple[str, ...]:
    return tuple(variant for variant in variants if pruning_of(variant) != UNPRUNED)


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _complaint(problem: Any) -> str:
    """Format a pydantic complaint as `key = value: what is wrong, what would be right`."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {shortened(ascii_controls(key))}: use one of {', '.join(_known_keys(location[:-1]))}"
    if isinstance(problem["input"], Mapping) and problem["type"] == "value_error":  # values that exclude each other
        return ": ".join(filter(None, (key, problem["msg"].removeprefix("Value error, "))))
    reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{key} = {quoted(problem['input'])}: {reason}"


def _known_keys(tables: list[str]) -> list[str]:
    model: type[BaseModel] = StudyDefinition
    for table in tables:
        annotation = model.model_fields[table].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return [".".join([*tables, field]) for field in model.model_fields]
