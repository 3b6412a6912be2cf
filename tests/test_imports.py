"""The shape of the code, read from its syntax: who may import whom, how long things may be, which words are not ours.

Source: docs/architecture.md, "The tree". Every import counts, also one inside a function or under TYPE_CHECKING.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SRC: Final = ROOT / "src"
PACKAGE: Final = SRC / "holdfast"

# Layer -> what of ours it may import besides itself. Whoever adds an arrow says why in docs/architecture.md.
OURS: Final = {
    "core": [],
    "wire": ["core"],
    "holder": [],
    "view": ["core"],
    "relay": ["core", "wire"],
    "edge": ["core", "wire"],
    "host": ["core", "wire", "view", "edge", "holder.protocol"],
    "client": ["core", "wire", "edge"],
    "faces": ["core", "client"],
    "sync": ["core", "client", "wire"],
    "testing": ["core", "client", "sync", "host.cgroups"],
}
# Layer -> what it may import from outside the standard library.
OTHERS: Final = {
    "core": ["msgspec", "cryptography"],
    "wire": ["msgspec", "cryptography"],
    "holder": [],
    "view": ["msgspec", "pyghostty", "cffi"],
    "relay": ["msgspec", "cryptography", "websockets", "prometheus_client"],
    "edge": ["cryptography", "websockets"],
    "host": ["msgspec", "zstandard", "cryptography", "re2", "pywebpush", "py_vapid"],
    "client": ["msgspec", "cryptography"],
    "faces": [
        "msgspec",
        "click",
        "segno",
        "mcp",
        "mcp_types",
        "uvicorn",
        "textual",
        "rich",
        "webview",
        "qtpy",
        "websockets",
    ],
    "sync": [],
    "testing": ["pytest"],
}
MODULE_LINES_MAX: Final = 600
FUNCTION_LINES_MAX: Final = 60

MODULES: Final = sorted(PACKAGE.rglob("*.py"))
EACH_MODULE = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))


class Import(NamedTuple):
    line: int
    what: str  # dotted, the name included where the statement names one


def dotted(path: Path) -> list[str]:
    parts = list(path.relative_to(SRC).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path, tree: ast.AST) -> Iterator[Import]:
    package = list(path.relative_to(SRC).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{stem}.{name.name}") for name in node.names)


def allowed(layer: str, what: str) -> bool:
    top, _, rest = what.partition(".")
    if top == "holdfast":
        inside = any(rest == prefix or rest.startswith(f"{prefix}.") for prefix in [layer, *OURS[layer]])
        return inside or rest in ("", "__version__")  # the package itself is empty, and imported anyway
    return top in sys.stdlib_module_names or top in OTHERS[layer]


def layer_of(path: Path) -> str:
    parts = dotted(path)
    return parts[1] if len(parts) > 1 else ""


def test_every_folder_is_a_layer_with_written_rules() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(OURS)
    assert set(OURS) == set(OTHERS)


@EACH_MODULE
def test_imports_point_one_way(path: Path) -> None:
    """Promise A1."""
    layer, tree = layer_of(path), ast.parse(path.read_text())
    if layer not in OURS:
        # The package's own __init__ is paid for by the keeper and every holder: it may only import when asked.
        body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert [node for node in body if getattr(node, "module", "") not in {"typing", "importlib"}] == []
        return
    wrong = [f"line {line}: {what}" for line, what in imports(path, tree) if not allowed(layer, what)]
    assert wrong == [], f"{layer}/ may import of ours {[layer, *OURS[layer]]}, from outside {OTHERS[layer]}"


MCP_OURS: Final = (
    "holdfast.faces.mcp", "holdfast.client.ai", "holdfast.client.keys", "holdfast.client.until", "holdfast.core.errors",
    "holdfast.core.plain",
)  # fmt: skip


@pytest.mark.parametrize("path", sorted((PACKAGE / "faces" / "mcp").glob("*.py")), ids=lambda path: path.name)
def test_the_mcp_face_is_a_client_like_any_other(path: Path) -> None:
    """Promise M8: it has the public SDK, its own keys, names of keys and words of errors, and no other way in (R58)."""
    import holdfast

    ours = [each.what for each in imports(path, ast.parse(path.read_text())) if each.what.startswith("holdfast")]
    inside = [what for what in ours if not any(what == one or what.startswith(f"{one}.") for one in MCP_OURS)]
    assert {
        what for what in inside if what.removeprefix("holdfast").lstrip(".") not in ("", *holdfast.__all__)
    } == set()


@pytest.mark.parametrize(
    ("heavy", "where"),
    [
        ({"mcp", "mcp_types", "uvicorn"}, "faces/mcp/serve.py"),
        ({"textual", "rich"}, "faces/tui/app.py"),
        ({"webview"}, "faces/desktop/window.py"),
        ({"pywebpush", "py_vapid"}, "host/postman.py"),
    ],
    ids=["mcp", "textual", "webview", "pywebpush"],
)
def test_one_module_alone_knows_an_extra(heavy: set[str], where: str) -> None:
    """They take long to import: the command that needs one loads it, and no other does."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for each in imports(path, ast.parse(path.read_text()))
        if each.what.partition(".")[0] in heavy
    }
    assert found == {where}


@pytest.mark.parametrize(
    ("layer", "what", "verdict"),
    [
        ("core", "holdfast.wire.messages", False),
        ("core", "msgspec.Struct", True),
        ("core", "click", False),
        ("wire", "holdfast.core.errors.BadMessage", True),
        ("holder", "msgspec", False),
        ("holder", "holdfast.core.ids", False),
        ("holder", "holdfast.holder.protocol", True),
        ("holder", "os", True),
        ("host", "holdfast.holder.protocol.HEAD", True),
        ("host", "holdfast.holder.keeper", False),
        ("host", "holdfast.client", False),
        ("view", "holdfast.wire", False),
        ("faces", "holdfast.wire.messages", False),
        ("faces", "holdfast.host", False),
        ("faces", "holdfast.__version__", True),
        ("client", "holdfast.hostile", False),
    ],
)
def test_the_guard_itself_can_tell_right_from_wrong(layer: str, what: str, verdict: bool) -> None:
    assert allowed(layer, what) is verdict


@EACH_MODULE
def test_modules_and_functions_fit_in_a_head(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {f"{node.name} (line {node.lineno})": (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: size for name, size in lengths.items() if size > FUNCTION_LINES_MAX} == {}


@EACH_MODULE
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "one sentence: what this module, alone, owns"


def prose() -> list[Path]:
    return [*MODULES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")]


def test_one_word_one_thing() -> None:
    """The word that means a host to one reader and an AI to the next is not used at all."""
    word = re.compile(r"\b" + "ag" + r"ents?\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in prose()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line)
    ]
    assert found == []


def test_every_runtime_dependency_is_accounted_for() -> None:
    """Why it, what else was weighed, its size, what if it dies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9_.-]", need)[0] for need in project["dependencies"]}
    text = (ROOT / "docs" / "dependencies.md").read_text()
    sections = dict(re.findall(r"^## (\S+)[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    for name in names:
        for question in ("**Why**", "**Weighed**", "**Size**", "**If it dies**"):
            assert question in sections.get(name, ""), (
                f"docs/dependencies.md, section {name}, does not answer {question}"
            )
