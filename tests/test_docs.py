"""What the documents and the help texts name exists: files, names in them, commands and their options."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from explorer.cli import COMMANDS, app
from tests.test_layers import LAYERS, ROOT

DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")))
EXAMPLES = {"a/b", "../x", "x.toml", "my-study.toml", "splits.json"}  # what a reader would make
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|toml|md|html)|(?:[\w-]+/)+)`")


def files() -> Iterator[tuple[str, str]]:
    """(document, file or folder that it names)"""
    for document in DOCUMENTS:
        for name in FILE.findall(document.read_text()):
            if name not in EXAMPLES and (name.startswith((*LAYERS, "tests/")) or name.endswith(".py")):
                yield str(document.relative_to(ROOT)), name


@pytest.mark.parametrize(("document", "name"), sorted(set(files())))
def test_files_that_documents_name_exist(document: str, name: str) -> None:
    """A file without a folder stands behind one with a folder, in the same sentence."""
    assert (ROOT / name).exists() if "/" in name else any(ROOT.glob(f"[eost]*/**/{name}")), document


def test_names_that_the_guide_says_are_in_a_file_are_there() -> None:
    told = re.findall(r"`(\w+)` \(`([\w/]+\.py)`\)", (ROOT / "CONTRIBUTING.md").read_text())
    assert told
    assert [(name, file) for name, file in told if not re.search(rf"\b{name}\b", (ROOT / file).read_text())] == []


def commands() -> dict[str, Any]:
    """Every command by what is typed for it."""
    found: dict[str, Any] = {}
    group: Any = typer.main.get_group(app)
    for name in COMMANDS:
        command = group.get_command(None, name)
        found[name] = command
        found |= {f"{name} {each}": one for each, one in getattr(command, "commands", {}).items()}
    return found


def helps() -> Iterator[tuple[str, str]]:
    """(where, text)"""
    yield from ((document.name, document.read_text()) for document in DOCUMENTS)
    yield from ((name, command.help or "") for name, command in commands().items())


def test_commands_in_documents_and_help_texts_have_the_options_that_they_show() -> None:
    known, seen, unknown = commands(), 0, []
    for where, text in helps():
        for line in re.findall(r"^\s*(?:\$ |[^$\n]*\| )?explorer (\S.*)$", text, re.M):
            words = shlex.split(line, comments=True)
            both = " ".join(words[:2])
            command = known.get(both, known.get(words[0]))
            if words[0] == "corpus" and both not in known:
                command = known["corpus show"]
            if command is None:
                continue  # a sentence
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            end = next((place for place, word in enumerate(words) if word in ("|", ">", ">>")), len(words))
            used = {word.partition("=")[0] for word in words[:end] if re.match(r"--?[a-zA-Z]", word)}
            unknown += [(where, line, option) for option in used - options]
            seen += 1
    assert seen > 60
    assert unknown == []


@pytest.mark.parametrize("name", [name for name, command in commands().items() if not hasattr(command, "commands")])
def test_every_help_says_what_the_command_does_with_an_example(name: str) -> None:
    told = commands()[name].help
    assert re.match(r"[A-Z][a-z]+ ", told)  # a verb
    assert re.search(rf"^ *(.*\| )?explorer {name.split()[0]}\b", told, re.M)
