"""The trackers themselves, each a thin form of its package's own; imported only when one is named."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from lmtools.core.tracking import Tracked, Tracker

PROJECT = "lmtools"


def open_trackio(tracked: Tracked) -> Tracker:
    """Trackio: a local database, shown by `trackio show --project lmtools`."""
    import trackio

    with redirect_stdout(sys.stderr):  # stdout is the command's
        run = trackio.init(
            project=PROJECT,
            name=f"{tracked.name}-{tracked.key[:8]}",
            config=dict(tracked.recipe),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
    return _Trackio(run)


class _Trackio:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        self._run.log(_named(part, record), step=step)

    def close(self) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()  # not the run's own: that is called once more at the end of the process


def open_wandb(tracked: Tracked) -> Tracker:
    """Weights & Biases, as the user's settings and environment (WANDB_MODE, WANDB_PROJECT ...) have it."""
    import os

    import wandb

    return _Wandb(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=tracked.name,
            id=tracked.key,
            resume="allow",
            config=dict(tracked.recipe),
            dir=str(tracked.directory),
            # Neither code, nor git, nor what is printed; the rest is as the user's own settings have it.
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, save_code=False),
        )
    )


class _Wandb:
    """Steps are numbers of their own, since several parts of a run each count from 1."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._parts: set[str] = set()

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        if step is None:
            self._run.summary.update(_named(part, record))
            return
        if part not in self._parts:
            self._parts.add(part)
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/step")
        self._run.log(_named(part, {**record, "step": step}))

    def close(self) -> None:
        self._run.finish()


def open_tensorboard(tracked: Tracked) -> Tracker:
    """TensorBoard: event files in the run, shown by `tensorboard --logdir RUN`."""
    from torch.utils.tensorboard import SummaryWriter

    return _TensorBoard(SummaryWriter(str(tracked.directory / "tensorboard")))


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, part: str, record: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in _named(part, record).items():
            self._writer.add_scalar(name, value, step or 0)

    def close(self) -> None:
        self._writer.close()


def _named(part: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's figures by their full names."""
    return {f"{part}/{name}": value for name, value in record.items()}
