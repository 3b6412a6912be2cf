"""The eight tools on a real host, called by the official MCP client: what a model gets, also when it is wrong or not alone."""

import json
import re
import time
from typing import Any

import pytest

import holdfast as hf
from holdfast import sync, until
from holdfast.core.plain import rendered
from holdfast.faces.mcp import shapes
from holdfast.testing import TemporaryHost
from tests.faces.mcp.conftest import Answer, Model

TOOLS = ("list_sessions", "open_session", "observe", "run", "send", "wait", "read_output", "control")
WITH_SESSION = {
    "observe": {}, "run": {"command": "true"}, "send": {"text": "x"}, "wait": {"timeout_s": 1}, "read_output": {}, "control": {},
}  # fmt: skip
BAD = [
    ("list_sessions", {"host": 5}), ("list_sessions", {"hosts": "x"}),
    ("open_session", {}), ("open_session", {"name": "x", "rows": 0}), ("open_session", {"name": "x", "command": "ls"}),
    ("observe", {}), ("observe", {"session": "x", "view": "all"}), ("observe", {"session": "x", "max_tokens": "many"}),
    ("run", {"session": "x"}), ("run", {"session": "x", "command": ""}), ("run", {"session": "x", "command": "ls", "timeout": 5}),
    ("send", {"session": "x"}), ("send", {"session": "x", "keys": ["Ctrl+Banana"]}), ("send", {"session": "x", "text": "\x03"}),
    ("wait", {"session": "x", "until": ["forever"]}), ("wait", {"session": "x", "until": "exit"}),
    ("read_output", {"session": "x", "offset": "start"}), ("control", {"session": "x", "action": "kill"}),
    ("nonsense", {}),
]  # fmt: skip


def typed(session: sync.Session) -> int:
    """How many inputs are on record."""
    control = session.info().control
    return 0 if control is None else control.input


def text(session: sync.Session) -> str:
    return rendered(b"".join(each.data for each in session.output() if isinstance(each, hf.Output)))


def rev(answer: str) -> str:
    found = re.search(r"rev=(\S+)", answer)
    assert found is not None, answer
    return found.group(1)


# ---- what a model is given --------------------------------------------------------------------------------------------


def test_the_tools_are_eight_and_cost_little(model: Model) -> None:
    """Promise M3."""
    tools = model.run(model.client.list_tools()).tools
    assert tuple(each.name for each in tools) == TOOLS
    sent = json.dumps([each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in tools])
    assert len(sent) / 4 <= 2000
    for each in tools:
        assert each.output_schema is None
        assert each.input_schema["additionalProperties"] is False
        assert each.description and len(each.description) < 200


@pytest.mark.parametrize(("tool", "arguments"), BAD)
def test_bad_arguments_are_answered_with_what_would_be_right(
    model: Model, tool: str, arguments: dict[str, Any]
) -> None:
    """Promise M4."""
    answer = model(tool, **arguments)
    assert answer.wrong
    assert answer.startswith("bad-arguments: ")
    assert len(answer) < 500
    assert "http" not in answer and "Traceback" not in answer


@pytest.mark.parametrize("tool", WITH_SESSION)
def test_an_unknown_session_says_what_to_do(model: Model, tool: str) -> None:
    """Promise M4."""
    answer = model(tool, session="no-such-thing", **WITH_SESSION[tool])
    assert answer.wrong
    assert answer.startswith("no-such-session: ") and "list_sessions" in answer


@pytest.mark.parametrize("tool", ["run", "send"])
def test_it_looks_before_it_acts(model: Model, work: sync.Session, tool: str) -> None:
    """Promise M5."""
    before = typed(work)
    answer = model(tool, session=work.name, **WITH_SESSION[tool])
    assert answer.wrong and answer.startswith("look-first: ")
    assert typed(work) == before


# ---- a day's work ------------------------------------------------------------------------------------------------------


def test_run_gives_a_commands_own_output_and_status(model: Model, work: sync.Session) -> None:
    """Promise M3."""
    model("observe", session=work.name)
    answer = model("run", session=work.name, command="cd /usr; printf 'one\\ntwo\\n'; (exit 3)")
    head, *body = answer.split("\n")
    assert "exited exit=3" in head and "cwd=/usr" in head and "ctl=you" in head
    assert body == ["one", "two"]
    assert model("run", session=work.name, command="pwd").split("\n")[1:] == ["/usr"]
    [last] = work.commands(limit=1, newest=True)
    assert last.author.startswith("o-")
    assert last.on_behalf_of.startswith("o-") and last.on_behalf_of != last.author
    assert f"{last.id} exit=0" in model("observe", session=work.name, view="commands")


def test_a_program_is_answered_and_its_output_shown(model: Model, work: sync.Session) -> None:
    model("observe", session=work.name)
    asked = model("run", session=work.name, command="read -p 'your name? ' name; echo hello $name")
    assert "waiting(line)" in asked and "your name?" in asked
    answer = model("send", session=work.name, text="model", keys=["Enter"])
    assert not answer.wrong
    assert "hello model" in answer


def test_a_full_screen_program_is_shown_as_a_screen(model: Model, work: sync.Session) -> None:
    model("observe", session=work.name)
    model("run", session=work.name, command="seq 500 | less", timeout_s=3)
    shown = model("wait", session=work.name, until=["input"], timeout_s=10)
    seen = shown if "(screen" in shown else model("observe", session=work.name)
    assert "(screen" in seen and "\n10\n" in seen
    assert "state=prompt" in model("send", session=work.name, keys=["q"]) or "state=prompt" in model(
        "wait", session=work.name, until=["input"], timeout_s=10
    )


def test_a_long_result_is_short_and_says_where_the_rest_is(model: Model, work: sync.Session) -> None:
    """Promise M3."""
    model("observe", session=work.name)
    answer = model("run", session=work.name, command="seq 1 200000", max_tokens=300)
    assert len(answer) < 300 * 4 + 400
    head, *lines = answer.split("\n")
    assert lines[0] == "1" and lines[-1] == "200000"
    [cut] = [each for each in lines if "left out" in each]
    found = re.search(r"read_output\(offset=(\d+)\)", cut)
    assert found is not None
    command = re.search(r"command=(\d+)", head)
    assert command is not None
    before = lines[lines.index(cut) - 1]
    page = model(
        "read_output", session=work.name, command_id=int(command.group(1)), offset=int(found.group(1)), max_tokens=300
    )
    shown = page.split("\n")[1:]
    assert shown[0] == str(int(before) + 1)  # nothing between the pages, nothing twice
    more = re.search(r"read_output\(offset=(\d+)\)", shown[-1])
    assert more is not None
    again = model(
        "read_output", session=work.name, command_id=int(command.group(1)), offset=int(more.group(1)), max_tokens=300
    )
    assert again.split("\n")[1] == str(int(shown[-2]) + 1)
    found_lines = model("read_output", session=work.name, command_id=int(command.group(1)), grep="19999").split("\n")[
        1:
    ]
    assert [each.partition(": ")[2] for each in found_lines] == [
        "19999",
        "119999",
        *(str(199990 + n) for n in range(10)),
    ]


def test_new_output_is_shown_once(model: Model, work: sync.Session) -> None:
    model("observe", session=work.name)
    model("run", session=work.name, command="echo first")
    work.send("echo by hand\r")
    assert "by hand" in model("wait", session=work.name, until=["match"], match="by hand\\n", timeout_s=20)
    answer = model("observe", session=work.name, view="new")
    assert "first" not in answer


def test_waits_end_by_what_happens_first_and_say_so(model: Model, work: sync.Session) -> None:
    """Promise M6."""
    model("observe", session=work.name)
    started = model("run", session=work.name, command="sleep 1; echo done; sleep 600", timeout_s=0.1)
    assert "running" in started
    found = re.search(r"command=(\d+)", started)
    assert found is not None
    assert model("wait", session=work.name, until=["match", "command"], match="do.e", command_id=int(found.group(1)),
                 timeout_s=30).startswith("match: 'done'")  # fmt: skip
    assert "quiet" in model("wait", session=work.name, until=["quiet"], quiet_s=0.2, timeout_s=10)
    began = time.monotonic()
    over = model("wait", session=work.name, until=["exit"], timeout_s=0.5)
    assert over.startswith("time: ") and "call wait again" in over
    assert time.monotonic() - began < 10
    ended = model("control", session=work.name, action="interrupt")
    assert "ended after SIG" in ended
    work.kill(grace=0)
    assert "exit: the session killed" in model("wait", session=work.id, until=["exit"], timeout_s=10)
    assert "done" in model("read_output", session=work.id)  # also after the end


def test_a_wait_that_asks_for_more_is_cut_to_its_bound(model: Model, work: sync.Session, monkeypatch: Any) -> None:
    """Promise M6."""
    monkeypatch.setattr(shapes, "WAIT_S_MAX", 1.0)
    began = time.monotonic()
    answer = model("wait", session=work.name, until=["exit", "human"], timeout_s=3600)
    assert time.monotonic() - began < 20
    assert "cut to" in answer
    model("observe", session=work.name)
    assert "still running" in model("run", session=work.name, command="sleep 600", timeout_s=3600)


# ---- with others -------------------------------------------------------------------------------------------------------


def test_who_moved_the_world_is_said_and_nothing_is_typed(model: Model, work: sync.Session) -> None:
    """Promise M5."""
    model("observe", session=work.name)
    work.send("echo mine\r")
    work.wait_for(until.match("mine\\n"), timeout=20)
    work.wait_for(until.any(until.input("prompt"), until.quiet(0.5)), timeout=5)
    before = typed(work)
    for tool, arguments in (("run", {"command": "rm -rf build"}), ("send", {"text": "rm -rf build\n"})):
        answer = model(tool, session=work.name, **arguments)
        assert answer.wrong and "observe" in answer
        assert answer.partition(":")[0] in ("stale-basis", "unseen", "line-busy")
    assert typed(work) == before
    model("observe", session=work.name)
    assert not model("run", session=work.name, command="true").wrong


def test_an_answer_that_was_lost_makes_nothing_twice(model: Model, work: sync.Session) -> None:
    """Promise M5: the AI host gave up on a call and calls again, with what it last saw."""
    seen = rev(model("observe", session=work.name))
    call = model.begin("run", session=work.name, command="echo once >> /tmp/once-$$; sleep 1")
    work.wait_for(until.match("once"), timeout=20, since=0)
    call.cancel()
    again = model("run", session=work.name, command="echo once >> /tmp/once-$$; sleep 1", basis=seen)
    model("observe", session=work.name)
    counted = model("run", session=work.name, command="wc -l < /tmp/once-$$; rm /tmp/once-$$")
    assert counted.split("\n")[1:] == ["1"], (again, counted)


def test_a_send_whose_answer_was_lost_is_not_sent_again(model: Model, work: sync.Session) -> None:
    """Promise M5."""
    seen = rev(model("observe", session=work.name))
    assert not model("send", session=work.name, text="echo sent", keys=["Enter"]).wrong
    answer = model("send", session=work.name, text="echo sent", keys=["Enter"], basis=seen)
    assert answer.wrong and answer.partition(":")[0] in ("unseen", "stale-basis", "stale-term")
    assert text(work).count("\nsent") == 1


def test_a_person_takes_over_and_gives_back(model: Model, work: sync.Session) -> None:
    """Promise M5."""
    model("observe", session=work.name)
    model("run", session=work.name, command="true")
    work.take("mine now")
    before = typed(work)
    answer = model("run", session=work.name, command="echo no")
    assert answer.wrong and answer.partition(":")[0] in ("not-in-control", "stale-term"), answer
    assert "observe" in answer or "wait" in answer
    assert "not-in-control: " in model("send", session=work.name, text="x") or model("observe", session=work.name)
    assert typed(work) == before
    call = model.begin(
        "control", session=work.name, action="request_human", reason="the password, please", timeout_s=30
    )
    deadline = time.monotonic() + 20
    while not work.who().asked and time.monotonic() < deadline:
        time.sleep(0.05)
    [asked] = work.who().asked
    assert "the password, please" in asked.why
    work.release()
    told: Answer = call.result(60)
    assert "human: control release" in told
    model("observe", session=work.name)
    assert "yes" in model("run", session=work.name, command="echo yes")


def test_paused_and_private_say_so(model: Model, work: sync.Session) -> None:
    """Promise M5."""
    model("observe", session=work.name)
    work.pause_ai("a moment")
    answer = model("run", session=work.name, command="echo no")
    assert answer.wrong and answer.startswith("paused: ") and "do not retry" in answer
    work.resume_ai()
    work.private()
    for tool in ("observe", "read_output", "control"):
        hidden = model(tool, session=work.name)
        assert hidden.wrong and hidden.startswith("private: "), tool
    work.public()
    assert not model("observe", session=work.name).wrong


def test_it_does_not_type_passwords(model: Model, work: sync.Session) -> None:
    model("observe", session=work.name)
    model("run", session=work.name, command="read -s -p 'Password: ' x; echo got ${#x}", timeout_s=5)
    model("observe", session=work.name)
    answer = model("send", session=work.name, text="hunter2\n")
    assert answer.wrong and answer.startswith("secret: ") and "request_human" in answer
    assert "got 0" in model("send", session=work.name, keys=["Ctrl+C"]) or "hunter2" not in text(work)


def test_it_interrupts_what_is_its_own_and_nothing_else(model: Model, work: sync.Session) -> None:
    work.send("sleep 600\r")
    work.wait_for(until.match("sleep 600"), timeout=10, since=0)
    deadline = time.monotonic() + 20
    while not work.prompt().running and time.monotonic() < deadline:
        time.sleep(0.05)
    answer = model("control", session=work.name, action="interrupt")
    assert answer.wrong and answer.startswith("not-yours: ")
    assert work.prompt().running
    work.send_keys("Ctrl+C")


def test_what_needs_a_person_is_approved_once(model: Model, work: sync.Session, host: TemporaryHost) -> None:
    """Promise M5."""
    policy = host.folder / "policy.toml"
    policy.write_text("[class.ai]\ndefault = 'ask'\n")
    try:
        model("observe", session=work.name)
        answer = model("run", session=work.name, command="echo approved")
        assert answer.wrong and answer.startswith("needs-approval: ")
        found = re.search(r"proposal=(\d+)", answer)
        assert found is not None
        number = int(found.group(1))
        call = model.begin("wait", session=work.name, until=["approval"], proposal=number, timeout_s=40)
        [proposal] = work.proposals()
        assert proposal.id == number
        proposal.approve()
        told: Answer = call.result(60)
        assert f"proposal {number} is executed" in told
        deadline = time.monotonic() + 20
        while (work.prompt().running or "\napproved" not in text(work)) and time.monotonic() < deadline:
            time.sleep(0.05)  # not the echo of the line: the end of the command would make what was observed old
        model("observe", session=work.name)
        refused = model("run", session=work.name, command="echo denied")
        assert refused.wrong and refused.startswith("needs-approval: ")
        [second] = work.proposals()
        second.deny("not now")
        said = model("wait", session=work.name, until=["approval"], proposal=second.id, timeout_s=20)
        assert "denied" in said and "not now" in said, (refused, said)
        assert text(work).count("\napproved") == 1 and "\ndenied" not in text(work)
    finally:
        policy.unlink()


def test_a_right_that_was_taken_back_is_said(host: TemporaryHost, work: sync.Session) -> None:
    """Promise M4."""
    with Model("ai2") as other:
        assert not other("observe", session=work.name).wrong
        assert host.hold("revoke", "ai2").returncode == 0
        for _ in range(2):
            answer = other("observe", session=work.name)
            assert answer.wrong
            assert len(answer) < 600 and "Next: " in answer
    with Model("ai2") as again:
        answer = again("list_sessions")
        assert answer.wrong and "taken back" in answer and "hold mcp allow" in answer


def test_what_may_be_seen_is_what_is_listed(model: Model, work: sync.Session) -> None:
    listed = model("list_sessions")
    assert work.name in listed
    opened = model("open_session", name=f"{work.name}-its", command=["cat"])
    again = model("open_session", name=f"{work.name}-its", command=["cat"])
    assert not opened.wrong and not again.wrong
    model("send", session=f"{work.name}-its", text="x", keys=["Ctrl+D", "Ctrl+D"])
