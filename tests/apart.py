"""Command lines in processes of their own, to be killed; forked from one that has imported the libraries."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

LIBRARIES = [
    "torch",
    "transformers",
    "trl",
    "peft",
    "bm25s",
    "lmtools.leret.trainer",
    "lmtools.generation.hf",
]


def fork_server(monkeypatch) -> ForkServerContext:
    """A source of processes, ready to start them, in which the libraries are imported and nothing has run."""
    checkout = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(checkout), str(Path(__file__).parent)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    first = context.Process(target=int)
    first.start()
    first.join()
    return context


def command(
    context: ForkServerContext,
    arguments: list[str],
    log: Path,
    environment: Mapping[str, str] = {},
    file_size: int = resource.RLIM_INFINITY,
    folder: Path | None = None,
) -> ForkServerProcess:
    """``lmtools ARGUMENTS`` in a process of its own, in ``folder``; what it prints goes to ``log``.

    Its files may not grow over ``file_size`` bytes, as on a disk that is full.
    """
    names = ("LMTOOLS_CACHE", "OMP_NUM_THREADS")
    variables = {name: os.environ[name] for name in names if name in os.environ} | dict(environment)
    process = context.Process(
        target=_run, args=(arguments, str(log), variables, file_size, folder or Path.cwd())
    )
    process.start()
    return process


def _run(arguments: list[str], log: str, variables: dict[str, str], file_size: int, folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command is there to answer
    os.environ.update(variables)
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    import torch
    from accelerate.state import AcceleratorState, PartialState

    from lmtools.cli.app import main

    # Importing the libraries has made the state of a lone process.
    PartialState._reset_state()
    AcceleratorState._reset_state()

    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["lmtools", *arguments]
    main()


def kill_when(process: ForkServerProcess, moment: Callable[[], bool], patience: float = 120.0) -> bool:
    """SIGKILL as soon as ``moment()``; whether it was still running."""
    deadline = time.monotonic() + patience
    while process.is_alive() and not moment() and time.monotonic() < deadline:
        time.sleep(0.002)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed
