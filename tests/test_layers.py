"""What the layout promises: imports flow one way, one door to pyannote.audio, nothing reported to anybody."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("objectives", "studies", "explorer")
MOST_ENTRIES = 12  # modules and folders in a folder


def sources(*folders: str) -> list[Path]:
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert found
    return found


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, anywhere in it; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            yield from (f"{module}.{name.name}" for name in node.names)


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(path)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in forbidden)
    ]


def in_fresh_process(code: str, **environment: str) -> str:
    """Standard output of Python code run in a process that has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_imports_are_seen_wherever_they_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "objectives" / "one.py"
    module.parent.mkdir()
    module.write_text(
        "import optuna.trial as t\ndef f():\n    from studies import fixed_points as paper\n    from . import two\n"
    )
    assert list(imported(module)) == ["optuna.trial", "studies.fixed_points", "objectives.two"]
    assert len(offenders([module], "optuna", "studies", "explorer")) == 2


def test_objectives_know_neither_optuna_nor_the_layers_above() -> None:
    assert offenders(sources("objectives"), "optuna", "optuna_dashboard", "studies", "explorer") == []


def test_studies_do_not_know_the_explorer() -> None:
    assert offenders(sources("studies"), "explorer") == []


def test_one_module_is_the_door_to_pyannote_audio_and_torchaudio() -> None:
    door = ROOT / "objectives" / "backends" / "pyannote.py"
    others = [path for path in sources(*LAYERS) if path != door]
    assert offenders(others, "pyannote.audio", "torchaudio") == []
    assert offenders([door], "pyannote.audio", "torchaudio") != []


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def dependencies() -> dict[str, set[str]]:
    """Modules of ours that each module of ours imports, anywhere in it."""
    paths = {module_of(path): path for path in sources(*LAYERS)}

    def modules(path: Path) -> set[str]:
        of_names = {name if name in paths else name.rpartition(".")[0] for name in imported(path)}
        return of_names & paths.keys()

    return {name: modules(path) for name, path in paths.items()}


def package_of(module: str) -> str:
    """The sub-package that a module lies in, or the module itself if it lies directly in a layer."""
    return ".".join(module.split(".")[:2])


def test_no_module_and_no_sub_package_is_in_a_circle() -> None:
    modules = dependencies()
    packages: dict[str, set[str]] = {}
    for name, needed in modules.items():
        packages.setdefault(package_of(name), set()).update(map(package_of, needed))
    for name in packages:
        packages[name].discard(name)
    # raises CycleError, which names the circle
    TopologicalSorter(modules).prepare()
    TopologicalSorter({name: needed - set(LAYERS) for name, needed in packages.items()}).prepare()


def test_a_circle_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_sub_packages_hold_a_docstring_and_nothing_else() -> None:
    """One that imports would bring torch into `--help` and `diarize`."""
    for path in sources(*LAYERS):
        if path.name == "__init__.py" and path.parent.parent != ROOT:
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), path


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in sources(*LAYERS)}
    entries = {
        folder.relative_to(ROOT): [one for one in folder.iterdir() if is_entry(one)]
        for folder in folders
        if folder != ROOT / "explorer"  # its folders are the rooms themselves
    }
    crowded = {folder for folder, found in entries.items() if len(found) > MOST_ENTRIES}
    assert crowded == {Path("explorer/commands")}  # a file a command


def is_entry(path: Path) -> bool:
    return path.name not in ("__init__.py", "__pycache__", "templates") and (path.is_dir() or path.suffix == ".py")


# Counts the spans that pyannote.audio's telemetry hands to its exporter when a model is loaded: as we leave it, then
# switched on, to see that the count would notice. Nothing is sent, since the exporter is stood in for.
LISTEN = """
import json, os
from objectives.cache.assets import fetch
from objectives.backends.pyannote import Model
from pyannote.audio.telemetry import metrics
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

spans = []

class Listener(SpanExporter):
    def export(self, batch):
        spans.extend(span.name for span in batch)
        return SpanExportResult.SUCCESS

metrics.exporter.export = Listener().export
metrics.provider.add_span_processor(SimpleSpanProcessor(Listener()))
variable, enabled = os.environ["PYANNOTE_METRICS_ENABLED"], metrics.is_metrics_enabled()
Model.from_pretrained(fetch("segmentation-3.0"))
silent = list(spans)
metrics.set_telemetry_metrics(True)
Model.from_pretrained(fetch("segmentation-3.0"))
print(json.dumps({"variable": variable, "enabled": enabled, "silent": silent, "control": spans[:1]}))
"""


def test_loading_a_model_reports_to_nobody_even_where_the_user_had_it_on() -> None:
    told = json.loads(in_fresh_process(LISTEN, PYANNOTE_METRICS_ENABLED="1").splitlines()[-1])
    assert told == {"variable": "0", "enabled": False, "silent": [], "control": ["oss-model-init"]}


SWITCHES = ("ORT_DISABLE_TELEMETRY", "PYANNOTE_METRICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
DOORS = (
    "objectives",
    "objectives.errors",
    "studies.definition",
    "explorer.cli",
    "explorer.workers.worker_process",
    "tests",
)
LOOK = """
import importlib, os
importlib.import_module({door!r})
print(*(os.environ[name] for name in {switches}))
"""


@pytest.mark.parametrize("door", DOORS)
def test_telemetry_is_off_behind_every_door_even_if_the_user_had_it_on(door: str) -> None:
    on = {"ORT_DISABLE_TELEMETRY": "0", "PYANNOTE_METRICS_ENABLED": "1", "HF_HUB_DISABLE_TELEMETRY": "0"}
    assert in_fresh_process(LOOK.format(door=door, switches=SWITCHES), **on).split() == ["1", "0", "1"]


TOO_LATE = """
import warnings
import onnxruntime
with warnings.catch_warnings(record=True) as raised:
    warnings.simplefilter("always")
    import objectives
print(*(str(warning.message).split(":")[0] for warning in raised), sep="\\n")
"""


@pytest.mark.parametrize(("value", "warned"), [("0", True), ("1", False)])
def test_a_program_that_imports_onnx_runtime_first_is_warned(value: str, warned: bool) -> None:
    told = in_fresh_process(TOO_LATE, ORT_DISABLE_TELEMETRY=value, CI="true")  # CI: nothing is left in this home
    assert told.startswith("onnxruntime was imported before objectives") is warned


FOLDERS = """
import os
os.environ.pop("MPLCONFIGDIR", None)
import explorer
print(os.environ["MPLCONFIGDIR"], os.environ["TORCHINDUCTOR_CACHE_DIR"])
"""


def test_libraries_keep_their_files_in_the_cache_unless_the_user_says_where(tmp_path: Path) -> None:
    cache, own = str(tmp_path / "cache"), str(tmp_path / "own")
    told = in_fresh_process(FOLDERS, EXPLORER_CACHE=cache, TORCHINDUCTOR_CACHE_DIR=own)
    assert told.split() == [f"{cache}/matplotlib", own]


HELP = """
import sys
from explorer.cli import main
sys.argv = ["explorer", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
slow = ("torch", "onnxruntime", "pyannote.core", "matplotlib", "dask", "pandas")
print("slow:", *[name for name in slow if name in sys.modules])
"""


def test_help_does_not_wait_for_torch() -> None:
    shown = in_fresh_process(HELP).splitlines()
    assert any("measure" in line for line in shown)
    assert shown[-1] == "slow:"
