"""StudyDefinition: what one study searches, read and validated from TOML."""

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from objectives.errors import OperatingPointError, StudyError
from studies.paper import BASELINE_POINT, FixedPoint, Sweep, chunk_length_point, right_context_point, sweep
from studies.search_space import SearchSpace, outside

Sampler = Literal["tpe", "random", "nsga2", "gp"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)

# Neither changes what is searched or how it is judged: they may differ from one run of a study to the next.
BUDGET = ("trials", "timeout")
REMARKS = ("description",)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"{list(values)} repeats a value: name each once")
    return values


Values = Annotated[tuple[float, ...], AfterValidator(_each_once)]


class Fixed(_Table):
    """Points that are measured whatever the sampler thinks, besides the baseline, which always is.

    sweeps: whole sweeps of the paper. chunk_length: values of C in seconds at R = 0.
    right_context: values of R in seconds at C = 1 s.
    """

    sweeps: Annotated[tuple[Sweep, ...], AfterValidator(_each_once)] = ()
    chunk_length: Values = ()
    right_context: Values = ()


class Models(_Table):
    """segmentation, embedding: a known name or a checkpoint. clustering_threshold: None for the embedding's own."""

    segmentation: str = "pyannote/segmentation-3.0"
    embedding: str = "campplus"
    clustering_threshold: float | None = Field(default=None, gt=0)


class Cost(_Table):
    """How RTF is timed. repeats: timed passes, of which the median counts. threads: of the model's runtime."""

    repeats: int = Field(default=3, ge=3)
    threads: int = Field(default=1, ge=1)


class Limits(_Table):
    """Budgets: the largest value that still counts as feasible; None for no budget.

    latency: C + R in seconds. der: percent. size: MiB. rtf: seconds of compute per second of audio.
    """

    latency: float | None = Field(default=None, gt=0)
    der: float | None = Field(default=None, gt=0)
    size: float | None = Field(default=None, gt=0)
    rtf: float | None = Field(default=None, gt=0)

    def given(self) -> dict[str, float]:
        """The budgets that were set, by name."""
        return self.model_dump(exclude_none=True)


class StudyDefinition(_Table):
    """One study. trials: search trials only, fixed points come besides. timeout: seconds of one run, or None."""

    description: str = ""
    corpus: str = "ami-excerpts"
    split: str = "eval"
    sampler: Sampler = "tpe"
    seed: int = Field(default=0, ge=0)
    trials: int = Field(default=50, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    space: SearchSpace = SearchSpace()
    fixed: Fixed = Fixed()
    models: Models = Models()
    cost: Cost = Cost()
    limits: Limits = Limits()

    @property
    def fixed_points(self) -> tuple[FixedPoint, ...]:
        """Baseline first, then the sweeps and the values of `fixed`; each origin once."""
        points = [BASELINE_POINT]
        for name in self.fixed.sweeps:
            points.extend(sweep(name))
        points.extend(right_context_point(value) for value in self.fixed.right_context)
        points.extend(chunk_length_point(value) for value in self.fixed.chunk_length)
        return tuple({fixed.origin: fixed for fixed in points}.values())

    def identity(self) -> dict[str, Any]:
        """Everything that trials of one study must share, flat: `space.chunk_length` → [0.1, 5.0]."""
        told = self.model_dump(mode="json", exclude={*BUDGET, *REMARKS})
        return _flat(told)

    def vary(self, source: str, **changes: Any) -> "StudyDefinition":
        """This definition with what is not None in `changes` put over it and validated again; a mapping is merged.

        source: who asks, for the error. Raises StudyError.
        """
        told = self.model_dump(mode="json")
        for key, value in changes.items():
            if isinstance(value, Mapping):
                told[key] = told[key] | value
            elif value is not None:
                told[key] = value
        return parse(told, source)


def parse(told: Mapping[str, Any], source: str) -> StudyDefinition:
    """A definition from plain data. source: file or option it came from, for the error. Raises StudyError."""
    try:
        # through JSON, so that pydantic is strict about types and still takes a list for a tuple
        definition = StudyDefinition.model_validate_json(json.dumps(told, default=str))
    except ValidationError as error:
        raise StudyError(f"{source}: " + "; ".join(_complaint(problem) for problem in error.errors())) from error
    try:
        fixed_points = definition.fixed_points
    except OperatingPointError as error:
        raise StudyError(f"{source}: [fixed] {error}") from error
    for fixed in fixed_points:
        if why := outside(fixed.point, definition.space):
            raise StudyError(
                f"{source}: the fixed point {fixed.origin} does not lie in the search space: {why}. "
                "Widen [space] so that it holds every fixed point and the baseline (C = 1 s, R = 0, fp32), "
                "or leave the point out; to keep the search low-latency use [limits] latency instead"
            )
    return definition


def read(path: Path) -> StudyDefinition:
    """Read a TOML file. Raises StudyError naming the file, the key and what is known instead."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: is not TOML: {error}") from error
    return parse(told, str(path))


def packaged() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    folder = Path(str(files("studies")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(study: str) -> tuple[str, StudyDefinition]:
    """(name, definition) of a packaged study's name or of a path that ends in .toml. Raises StudyError."""
    if study.endswith(".toml"):
        return Path(study).stem, read(Path(study))
    known = packaged()
    if study not in known:
        raise StudyError(f"no study is named {study!r}: use one of {', '.join(known)}, or the path of a .toml file")
    return study, read(known[study])


def name_of(study: str) -> str:
    """The study name that STUDY of the command line means: itself, or the stem of a .toml path."""
    return Path(study).stem if study.endswith(".toml") else study


def _flat(told: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _complaint(problem: Any) -> str:
    """One pydantic complaint as `key = value: what is wrong, what would be right`."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}: use one of {', '.join(_known_keys(location[:-1]))}"
    return f"{key} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def _known_keys(tables: list[str]) -> list[str]:
    model: type[BaseModel] = StudyDefinition
    for table in tables:
        annotation = model.model_fields[table].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return [".".join([*tables, field]) for field in model.model_fields]
