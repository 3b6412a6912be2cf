"""The options of `hold attach` and `hold new`, once, for both parsers: the fast one and click. Imports nothing."""

from __future__ import annotations


class Option:
    """One option. ``flag``: takes no value; ``many``: may be repeated. ``keyword`` is its name in the parsed result."""

    def __init__(
        self,
        names: tuple[str, ...],
        keyword: str,
        help: str,
        *,
        flag: bool = False,
        many: bool = False,
        metavar: str = "",
    ) -> None:
        self.names, self.keyword, self.help, self.flag, self.many, self.metavar = (
            names,
            keyword,
            help,
            flag,
            many,
            metavar,
        )

    def empty(self) -> object:
        """What the result holds when the option is not given."""
        return False if self.flag else () if self.many else None


class Command:
    """A command both parsers know. ``name``: how its session argument may be left out; ``rest``: takes `-- CMD...`."""

    def __init__(self, options: tuple[Option, ...], *, name_required: bool, rest: bool) -> None:
        self.options, self.name_required, self.rest = options, name_required, rest


_SHARED = (
    Option(
        ("--prefix",),
        "prefix",
        "The key before a command key; ctrl-a, ^], ... or none. Default ctrl-\\, or HOLDFAST_PREFIX.",
        metavar="KEY",
    ),
    Option(
        ("--nested",),
        "nested",
        "Attach from inside another session all the same; never to the session itself.",
        flag=True,
    ),
    Option(("--profile",), "profile", "Whose keys to use; default: the profile that knows the host.", metavar="NAME"),
)
ATTACH = Command(
    (
        Option(("--observe",), "observe", "Look only: nothing typed is sent, and the size is left alone.", flag=True),
        *_SHARED,
    ),
    name_required=True,
    rest=False,
)
NEW = Command(
    (
        Option(("-d", "--detach"), "detach", "Only start it; prints its name.", flag=True),
        Option(("--cwd",), "cwd", "Where it starts. Default: here.", metavar="FOLDER"),
        Option(
            ("--env",),
            "env",
            "Set NAME=VALUE in its environment, or with NAME- leave NAME out. May be repeated.",
            many=True,
            metavar="NAME=VALUE",
        ),
        Option(
            ("--no-integration",),
            "no_integration",
            "Start a shell just as it is: its commands are not known then.",
            flag=True,
        ),
        Option(("--size",), "size", "ROWSxCOLUMNS of its terminal. Default: this terminal's.", metavar="RxC"),
        *_SHARED,
    ),
    name_required=False,
    rest=True,
)
COMMANDS = {"attach": ATTACH, "new": NEW}


def parse(arguments: list[str]) -> tuple[str, dict[str, object]] | None:
    """Return (command, its parameters as click would give them), or None: not one of the plain forms, ask click.

    Plain forms: whole option names, values after ``=`` or in the next argument, one name, the command after ``--``.
    """
    if not arguments or (command := COMMANDS.get(arguments[0])) is None:
        return None
    by_name = {name: option for option in command.options for name in option.names}
    found: dict[str, object] = {option.keyword: option.empty() for option in command.options}
    found["name"] = None
    rest = iter(arguments[1:])
    for word in rest:
        if word == "--":
            break
        name, equals, value = word.partition("=")
        option = by_name.get(name)
        if not word.startswith("-"):
            if found["name"] is not None:
                return None
            found["name"] = word
        elif option is None or (equals and (option.flag or not word.startswith("--"))):
            return None
        elif option.flag:
            found[option.keyword] = True
        else:
            given = value if equals else next(rest, None)
            if given is None or (not equals and given.startswith("-")):
                return None
            before = found[option.keyword]
            found[option.keyword] = (*before, given) if isinstance(before, tuple) else given
    words = tuple(rest)
    if (words and not command.rest) or (command.name_required and not found["name"]):
        return None
    if command.rest:
        found["command"] = words
    return arguments[0], found
