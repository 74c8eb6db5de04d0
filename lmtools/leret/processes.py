"""Several processes of one run, as ``accelerate launch`` starts them: the first one explores and writes."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(days=7)
"""How long the others wait while the first process explores."""


def several() -> bool:
    """Whether this process is one of several."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def wait_for_everyone() -> None:
    """A meeting point for all processes of the run."""
    if several():
        _state().wait_for_everyone()


def agree(choose: Callable[[], str]) -> str:
    """What the first process chose, in every process."""
    if not several():
        return choose()
    from accelerate.utils import broadcast_object_list

    first = _state().is_main_process
    return str(broadcast_object_list([choose() if first else ""])[0])


def _state() -> Any:
    """accelerate's view of the processes; untold that they run on processors, it sees a lone one."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, timeout=PATIENCE)
