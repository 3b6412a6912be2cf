"""Control groups of this very machine: exact membership, kill, freeze, OOM facts; and what is said where they lack."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.holder import linux
from holdfast.host.cgroups import PREFIX, Groups, hierarchies
from holdfast.host.tuple import live_tuple, members
from tests.host.trees import tree

SLEEP = "import time\nready()\ntime.sleep(600)\n"
V2_ONLY = "34 25 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "30 25 0:26 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n"
    "31 25 0:27 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"
    "32 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 25 0:30 / /sys/fs/cgroup/systemd rw shared:8 - cgroup cgroup rw,xattr,name=systemd\n"
)


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Groups]:
    groups = Groups.find(str(tmp_path))
    if not groups.exact:
        pytest.skip("; ".join(groups.notes))
    yield groups
    for session in groups.sessions():
        group = groups.of(session)
        assert group is not None
        group.kill()
        soon(lambda name=session: groups.remove(name))  # type: ignore[misc]
    for hierarchy, base in groups.bases.values():
        assert not (hierarchy.path(base) / f"{PREFIX}{groups.tag}").exists()


def soon(true: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


def test_v2_alone_is_read() -> None:
    (found,) = hierarchies(mountinfo=V2_ONLY, cgroup="0::/user.slice/user-1000.slice/session-3.scope\n")
    assert (found.version, found.mount, found.own) == (
        2, Path("/sys/fs/cgroup"), "/user.slice/user-1000.slice/session-3.scope",
    )  # fmt: skip


def test_a_hybrid_machine_is_read() -> None:
    found = hierarchies(
        mountinfo=HYBRID, cgroup="9:name=systemd:/s\n4:memory:/m\n2:cpu,cpuacct:/\n0::/u\n"
    )  # fmt: skip
    own = {tuple(sorted(each.controllers)): (each.version, each.own) for each in found}
    assert own == {(): (2, "/u"), ("memory",): (1, "/m"), ("cpu", "cpuacct"): (1, "/"), ("name=systemd",): (1, "/s")}


def test_a_container_that_sees_a_part_of_the_tree_is_read() -> None:
    mountinfo = "34 25 0:28 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    (found,) = hierarchies(mountinfo=mountinfo, cgroup="0::/docker/abc/sub\n")
    assert found.path(found.own) == Path("/sys/fs/cgroup/sub")


@pytest.mark.parametrize(
    ("mountinfo", "cgroup"), [("", ""), ("", "0::/\n"), ("nonsense\n", "nonsense\n"), (V2_ONLY, "")]
)
def test_a_machine_without_control_groups_is_said_and_nothing_is_made(
    tmp_path: Path, mountinfo: str, cgroup: str
) -> None:
    (tmp_path / "mountinfo").write_text(mountinfo)
    (tmp_path / "cgroup").write_text(cgroup)
    groups = Groups.find("state", proc=tmp_path)
    assert not groups.exact and groups.notes
    assert groups.make("s-one") is None and groups.of("s-one") is None and groups.remove("s-one")
    assert groups.sessions() == []


def test_a_group_that_is_not_ours_to_write_is_said(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup fs"
    mount.mkdir()  # no cgroup.procs in it: as good as forbidden, also for root
    (tmp_path / "mountinfo").write_text(f"34 25 0:28 / {str(mount).replace(' ', chr(92) + '040')} rw - cgroup2 c rw\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    groups = Groups.find("state", proc=tmp_path)
    assert not groups.exact and any("cannot be used" in note for note in groups.notes)
    assert list(mount.iterdir()) == []


def test_hosts_of_different_state_folders_do_not_meet() -> None:
    assert Groups.find("/one").tag != Groups.find("/two").tag


def test_members_are_exact_even_after_setsid_double_fork_and_a_clean_environment(groups: Groups) -> None:
    """R04, without any marker left."""
    code = """
import os, time
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writer, b'%d' % os.getpid())
        os.execve(sys.executable, [sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'], {})
    os._exit(0)
os.wait()
ready(os.read(reader, 99).decode()); time.sleep(600)
"""
    group = groups.make("s-one")
    assert group is not None and groups.sessions() == ["s-one"]
    with tree(code, group=group) as root:
        assert sorted(group.members()) == sorted([root.pid, *root.also])
        found = members(root.pid, session="s-one", group=group)
        assert found.how == "cgroup" and set(found.stats) == {root.pid, *root.also}
        live = live_tuple(root.pid, group=group)
        assert live["membership"] == "cgroup" and live["cgroup"]["session"] == [str(path) for path in group.paths]
        again = Groups.find("another state folder").of("s-one", root.pid)
        assert again is not None and set(again.paths) <= set(group.paths) and again.members() == group.members()
        assert not group.remove()  # it has members
        group.kill()
        root.process.wait()
        soon(lambda: not group.members())
        soon(lambda: groups.remove("s-one"))
        assert groups.of("s-one") is None


def test_a_kill_ends_a_tree_whose_processes_change_all_the_time(groups: Groups) -> None:
    """Eight relays: each process forks the next one, in a session of its own, and exits."""
    code = """
import os, time
os.nice(19)
for _ in range(8):
    if os.fork() == 0:
        while True:
            if os.fork() != 0: os._exit(0)
            os.setsid()
ready()
while True:
    try: os.wait()
    except ChildProcessError: time.sleep(0.001)
"""
    group = groups.make("s-relay")
    assert group is not None
    with tree(code, group=group) as root:
        before = set(group.members())
        soon(lambda: not before & (set(group.members()) - {root.pid}))
        group.kill()
        assert root.process.wait() == -signal.SIGKILL
        soon(lambda: not group.members())


def test_a_kill_without_cgroup_kill_goes_through_all_members(groups: Groups) -> None:
    group = groups.make("s-old-kernel")
    assert group is not None
    group.unified, group.freezer = None, None
    if group.memory is None:
        pytest.skip("only one hierarchy here")
    code = "import os, time\nfor _ in range(20):\n    if os.fork() == 0: time.sleep(600)\nready(); time.sleep(600)\n"
    with tree(code, group=group) as root:
        assert len(group.members()) == 21 and not group.freeze()
        group.kill()
        assert root.process.wait() == -signal.SIGKILL
        soon(lambda: not group.members())


def test_a_frozen_group_stands_still_and_goes_on(groups: Groups) -> None:
    code = "import time\nready()\nwhile True: pass\n"
    group = groups.make("s-ice")
    assert group is not None
    with tree(code, group=group) as root:
        assert not group.frozen and group.freeze(wait_s=5) and group.frozen

        def ticks() -> int:
            return int(Path(f"/proc/{root.pid}/stat").read_text().rpartition(")")[2].split()[11])

        frozen_at = ticks()
        until = time.monotonic() + 0.05
        soon(lambda: time.monotonic() > until)
        assert ticks() <= frozen_at + 1
        assert group.thaw() and not group.frozen
        soon(lambda: ticks() > frozen_at + 1)


def test_an_oom_kills_the_hog_alone_and_is_counted(groups: Groups) -> None:
    code = """
import os, time
child = os.fork()
if child == 0:
    hog = []
    while True: hog.append(bytearray(1 << 20))
_, status = os.waitpid(child, 0)
ready('signal=%d' % os.WTERMSIG(status)); time.sleep(600)
"""
    group = groups.make("s-hog", memory_max=48 << 20)
    assert group is not None
    if not group.limit_memory(48 << 20):
        pytest.skip("; ".join(groups.notes))
    assert group.oom().kills == 0
    with tree(code, group=group) as root:
        assert root.said == [f"signal={int(signal.SIGKILL)}"]
        assert group.members() == (root.pid,) and group.oom().kills == 1
        assert 0 < (group.memory_bytes() or 0) <= 48 << 20
        assert live_tuple(root.pid, group=group)["memory"]["oom_kills"] == 1


def test_a_process_can_leave_the_group_of_a_session(groups: Groups) -> None:
    """A host that is started inside a session must not be frozen or killed with it."""
    group = groups.make("s-inside")
    assert group is not None
    with tree(SLEEP, group=group) as root:
        assert group.members() == (root.pid,)
        assert groups.leave(root.pid)
        assert group.members() == () and members(root.pid, group=group).how == "tree"


def test_a_host_inside_a_session_does_not_nest_its_groups_there(groups: Groups, tmp_path: Path) -> None:
    own = "/base/holdfast-0123456789ab/s-outer"
    mount = tmp_path / "c"
    (mount / "base").mkdir(parents=True)
    (mount / "base" / "cgroup.procs").write_text("")
    (tmp_path / "mountinfo").write_text(f"34 25 0:28 / {mount} rw - cgroup c rw,memory\n")
    (tmp_path / "cgroup").write_text(f"4:memory:{own}\n")
    found = Groups.find("inner", proc=tmp_path)
    assert found.bases["memory"][1] == "/base"


def test_a_group_that_is_gone_answers_all_the_same(groups: Groups) -> None:
    group = groups.make("s-gone")
    assert group is not None and groups.remove("s-gone")
    assert group.members() == () and group.kill() == 0 and not group.frozen and not group.freeze(wait_s=0)
    assert group.oom().kills is None and group.memory_bytes() is None and group.remove()


def test_a_group_with_members_is_removed_as_soon_as_they_are_gone(groups: Groups) -> None:
    group = groups.make("s-slow")
    assert group is not None
    with tree(SLEEP, group=group):
        assert not groups.remove("s-slow") and group.paths[0].is_dir()
    soon(lambda: groups.make("s-next") and not group.paths[0].is_dir())


def test_a_new_host_sweeps_what_a_dead_one_left_and_nothing_that_runs(groups: Groups, tmp_path: Path) -> None:
    busy, empty = groups.make("s-busy"), groups.make("s-empty")
    assert busy is not None and empty is not None
    with tree(SLEEP, group=busy) as root:
        Groups.find(str(tmp_path)).sweep()
        assert groups.sessions() == ["s-busy"] and busy.members() == (root.pid,)


def test_our_own_group_is_untouched(groups: Groups) -> None:
    before = Path("/proc/self/cgroup").read_text()
    groups.make("s-any")
    assert groups.remove("s-any") and Path("/proc/self/cgroup").read_text() == before and os.getpid() > 0


def test_a_child_can_be_born_in_its_group(short_dir: Path) -> None:
    """Moving a process later waits for every core: being born there does not. Where the kernel refuses, forks are plain."""
    groups = Groups.find(str(short_dir))
    group = groups.make("s-" + "b" * 26)
    v2 = [path for path in group.paths if (path / "cgroup.controllers").exists()] if group is not None else []
    linux.load_libc()
    try:
        for path in v2:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            read, write = os.pipe()
            pid = linux.fork_into(folder)
            if not pid:
                os.read(read, 1)
                os._exit(7)
            assert str(pid) in (path / "cgroup.procs").read_text().split()
            os.write(write, b"x")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            for fd in (folder, read, write):
                os.close(fd)
        nowhere = os.open(short_dir, os.O_RDONLY | os.O_DIRECTORY)
        with pytest.raises(OSError, match="not supported"):
            linux.fork_into(nowhere)
        os.close(nowhere)
    finally:
        groups.remove("s-" + "b" * 26)
        group_folders = [path.parent for path in group.paths] if group is not None else []
        assert not any((folder / ("s-" + "b" * 26)).exists() for folder in group_folders)
