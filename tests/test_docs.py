"""The pages say what is so: diagrams, settings, commands, names of the SDK and links are held against the code."""

import re
from pathlib import Path

import pytest

import holdfast
from holdfast.core import life
from holdfast.host.config import Config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("table", [life.LIFE, life.PRESENCE], ids=["execution", "attachment"])
def test_the_diagrams_are_the_tables(table: dict) -> None:  # type: ignore[type-arg]
    assert f"```mermaid\n{life.diagram(table)}\n```" in page("architecture.md")


def _shown(value: object) -> str:
    return str(int(value)) if isinstance(value, int | float) else str(value or "none")


def test_every_setting_stands_in_operations_with_its_default() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", page("operations.md"), re.MULTILINE))
    defaults = dict(zip(Config.__struct_fields__, Config.__struct_defaults__, strict=True))
    shown = {name: _shown(value) for name, value in defaults.items() if name != "reap"}
    assert said == shown


def test_every_command_stands_on_the_command_line_page() -> None:
    from holdfast.faces.cli.commands import cli

    missing = [name for name in cli.commands if f"`hold {name}" not in page("cli.md")]
    assert missing == []


def test_every_exit_status_stands_on_the_command_line_page() -> None:
    from holdfast.client import endings

    said = set(map(int, re.findall(r"^\| (\d+) \|", page("cli.md"), re.MULTILINE)))
    assert {status for name, status in vars(endings).items() if name.isupper() and isinstance(status, int)} <= said


def test_every_name_on_the_sdk_page_exists() -> None:
    text = page("sdk.md")
    names = set(re.findall(r"\bhf\.(\w+)", text)) | set(re.findall(r"`([A-Z]\w+)`", text))
    assert [name for name in names if not hasattr(holdfast, name)] == []


def test_the_example_on_the_sdk_page_compiles() -> None:
    [example] = re.findall(r"```python\n(.*?)```", page("sdk.md"), re.DOTALL)
    compile(example, "sdk.md", "exec")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_a_page_names_exist(path: Path) -> None:
    named = re.findall(r"`((?:src|docs|tests|bench|tools)/[\w./*-]+)`", path.read_text())
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_no_page_or_script_knows_the_machine_it_was_written_on() -> None:
    scripts = [ROOT / "test", ROOT / ".ci" / "run", *(ROOT / "tools").iterdir(), *(ROOT / "bench").iterdir()]
    texts = [path for path in [*PAGES, *scripts] if path.is_file()]
    homes = re.compile(r"/(?:" + "work" + r"|root|tmp/v)\b")
    assert [str(path.relative_to(ROOT)) for path in texts if homes.search(path.read_text())] == []


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    [command] = re.findall(r"Run all tests.*?```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(f"exec {command}")
