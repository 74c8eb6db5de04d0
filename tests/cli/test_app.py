"""The frame of the command line: light help, one message an error, exit codes, interruption."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import typer
from imported import HEAVY, modules_after

from lmtools.cli import app as module
from lmtools.cli.app import MEMBERS, Member, main, run
from lmtools.cli.faults import explain
from lmtools.cli.invocation import tree
from lmtools.cli.options import BackendName, DryRun, Json, Resume, overrides
from lmtools.cli.output import emit
from lmtools.core.errors import MachineError, RecipeError
from lmtools.core.run import Run


def fail(kind: str = "user", json: Json = False, resume: Resume = False, dry_run: DryRun = False) -> None:
    """A command that ends in the way it is asked to."""
    errors = {
        "user": RecipeError("r.yaml:3: sed: unknown key", fix="write seed"),
        "machine": MachineError("the service is down"),
        "interrupt": KeyboardInterrupt(),
        "bug": ZeroDivisionError("division by zero\nsecond line"),
        "full": OSError(errno.ENOSPC, "No space left on device", "runs/x/samples.jsonl"),
        "memory": MemoryError(),
        "exit": typer.Exit(3),
    }
    if kind in errors:
        raise errors[kind]
    emit({"kind": kind}, json)


@pytest.fixture
def failing(monkeypatch):
    """``lmtools fail --kind ...`` beside the real commands."""
    monkeypatch.setattr(Run, "begun", False)
    monkeypatch.setitem(MEMBERS, "fail", Member(__name__, "fail", "Fails as asked."))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(
        Member, "exists", lambda self: self.module == __name__ or self.module.endswith("recipes")
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    loaded = modules_after(f"from lmtools.cli.app import run; run({arguments!r})")
    assert "lmtools.cli.app" in loaded
    assert loaded.isdisjoint(HEAVY | {"numpy"})


def test_a_command_that_there_is_not_is_looked_for_in_all_groups_without_a_model_library():
    loaded = modules_after("from lmtools.cli.app import run; run(['no-such-command'])")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.exists()])
def test_help_of_every_command_imports_no_model_library(name):
    loaded = modules_after(f"from lmtools.cli.app import run; run([{name!r}, '--help'])")
    assert MEMBERS[name].module in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "command", ["leret train", "leret explore", "leret search", "ats fit", "hyre train", "eval reward"]
)
def test_a_mistyped_name_is_told_without_a_model_library(command):
    named = {"leret search": ["Where?", "--policy"]}.get(command, ["--recipe"])
    loaded = modules_after(f"from lmtools.cli.app import run; run({[*command.split(), *named, 'nope']!r})")
    assert loaded.isdisjoint(HEAVY)


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "lmtools 0.1.0\n"


def test_help_lists_only_commands_that_are_there(capsys, monkeypatch):
    monkeypatch.setitem(MEMBERS, "gone", Member("lmtools.cli.no_such_module", "app", "Not there."))
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "recipes" in shown
    assert "Not there." not in shown
    assert run(["gone"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recpes"], ["No such command 'recpes'", "Did you mean 'recipes'?", "`lmtools --help`"]),
        (["recipes", "lst"], ["No such command 'lst'", "`lmtools recipes --help`"]),
        (["recipes", "ls", "--jsn"], ["--jsn", "--json", "`lmtools recipes ls --help`"]),
        (["recipes", "show"], ["Missing argument", "NAME"]),
    ],
)
def test_wrong_usage_is_2_with_the_near_miss(capsys, arguments, words):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("user", 2, "error: r.yaml:3: sed: unknown key\n  fix: write seed\n"),
        ("machine", 1, "error: the service is down\n"),
        (
            "bug",
            1,
            "error: internal error: ZeroDivisionError: division by zero\n"
            "  fix: run with --debug for the traceback\n",
        ),
        (
            "full",
            1,
            "error: the disk is full at runs/x/samples.jsonl\n"
            "  fix: free some space, then run the same command\n",
        ),
        ("exit", 3, ""),
        ("none", 0, ""),
    ],
)
def test_exit_codes_and_messages(failing, capsys, kind, code, message):
    assert run(["fail", "--kind", kind]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", message)


def test_out_of_memory_says_what_to_try(failing, capsys):
    assert run(["fail", "--kind", "memory"]) == 1
    assert "--set model.batch_tokens=2048" in capsys.readouterr().err


def test_interruption_names_the_command_that_continues(failing, capsys, monkeypatch):
    monkeypatch.setattr(Run, "begun", True)
    assert run(["fail", "--kind", "interrupt"]) == 130
    assert "continue with: lmtools fail --kind interrupt --resume" in capsys.readouterr().err
    run(["fail", "--kind", "full"])
    assert "run the same command with --resume" in capsys.readouterr().err

    monkeypatch.setattr(Run, "begun", False)
    run(["fail", "--kind", "interrupt", "--resume"])
    assert capsys.readouterr().err.count("--resume") == 1


@pytest.mark.parametrize(("begun", "arguments"), [(False, []), (False, ["--dry-run"]), (True, ["--dry-run"])])
@pytest.mark.parametrize(("kind", "code"), [("interrupt", 130), ("full", 1)])
def test_where_there_is_nothing_to_resume_nobody_is_told_to(
    failing, capsys, monkeypatch, begun, arguments, kind, code
):
    monkeypatch.setattr(Run, "begun", begun)
    assert run(["fail", "--kind", kind, *arguments]) == code
    assert "--resume" not in capsys.readouterr().err


def test_no_summary_is_cut_where_its_docstring_breaks_a_line():
    groups = tree(typer.main.get_command(module.app)).inner
    commands = [inner for group in groups for inner in group.inner]
    assert [command.command.short_help for command in commands] == [command.summary for command in commands]


def test_a_path_that_is_too_long_is_a_fault_of_the_user(capsys):
    assert run(["recipes", "show", "x" * 5000]) == 2
    assert capsys.readouterr().err.startswith("error: File name too long: xxx")


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert run(["recipes", "ls"]) == 2
    assert capsys.readouterr().err.startswith("error: the working directory cannot be used: No such file")


@pytest.mark.parametrize(("kind", "code"), [("user", 2), ("machine", 1), ("interrupt", 130)])
def test_json_errors_are_one_object_on_stdout(failing, capsys, kind, code):
    assert run(["fail", "--kind", kind, "--json"]) == code
    value = json.loads(capsys.readouterr().out)
    assert list(value) == ["error", "fix", "exit_code"]
    assert value["exit_code"] == code


def test_debug_shows_the_traceback_wherever_it_stands(failing, capsys):
    for arguments in (["--debug", "fail", "--kind", "user"], ["fail", "--kind", "user", "--debug"]):
        assert run(arguments) == 2
        assert "Traceback" in capsys.readouterr().err
    assert run(["fail", "--kind", "user"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_torch_out_of_memory_is_told_by_name_and_text():
    class OutOfMemoryError(RuntimeError):
        pass

    assert "out of memory" in explain(OutOfMemoryError("CUDA out of memory. Tried ...")).message
    assert (
        "out of memory"
        in explain(RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory")).message
    )
    assert "internal error" in explain(RuntimeError("shapes do not match")).message


def test_read_only_place():
    fault = explain(PermissionError(errno.EACCES, "Permission denied", "/x/y"))
    assert (fault.exit_code, fault.message) == (1, "no permission: /x/y")


def test_sigterm_ends_like_ctrl_c():
    script = (
        "import sys, time, lmtools.cli.app as a\n"
        "def run(arguments):\n"
        "    try: print('ready', flush=True); time.sleep(60)\n"
        "    except KeyboardInterrupt: return 130\n"
        "a.run = run; a.main()"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=30) == 130
    child.stdout.close()


def test_a_reader_that_goes_away_is_no_complaint():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "lmtools", "--version"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "lmtools", "nothing", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2


def test_named_options_become_overrides_after_the_settings():
    assert overrides(["seed=1"], model='a"b', backend=BackendName.vllm, seed=7) == [
        "seed=1",
        'model.name=a"b',
        "model.backend=vllm",
        "seed=7",
    ]
    assert overrides(None) == []


def test_of_several_processes_only_the_first_prints_json(failing, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(["fail", "--kind", "none", "--json"]) == 0
    assert run(["fail", "--kind", "user", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_emit_is_silent_without_json_and_refuses_nan(capsys):
    emit({"x": 1}, False)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="JSON compliant"):
        emit({"x": float("nan")}, True)


def test_every_member_is_a_module_beside_the_app():
    assert all(
        member.module.startswith("lmtools.cli.") and member.summary for member in module.MEMBERS.values()
    )


@pytest.fixture
def started(monkeypatch):
    """``started(name, given)``: what a variable of the environment, set or not, is after ``main``."""

    def main_with(name, given):
        monkeypatch.setenv(name, given or "")
        if given is None:
            monkeypatch.delenv(name)
        monkeypatch.setattr(sys, "argv", ["lmtools", "--version"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        return os.environ.get(name)

    return main_with


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_do_not_spin_unless_the_user_says_so(started, given, expected):
    assert started("OMP_WAIT_POLICY", given) == expected


@pytest.mark.parametrize(
    ("terminal", "given", "expected"),
    [(False, None, "1"), (False, "0", "0"), (True, None, None)],
)
def test_bars_of_libraries_stay_out_of_logs(started, monkeypatch, terminal, given, expected):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert started("TQDM_DISABLE", given) == expected
