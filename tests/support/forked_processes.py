"""Real processes for tests that end them: forked, so that none has to import torch again."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess

import pytest
from optuna.trial import TrialState

from explorer.storage.connection import load_study
from objectives.errors import StudyError

PATIENCE = 60.0  # seconds for a process to come as far as it should


def start(target: Callable[..., object], *args: object) -> ForkProcess:
    """Run `target` in a process of its own, which ends with the test session at the latest."""
    process = multiprocessing.get_context("fork").Process(target=_interruptible, args=(target, *args), daemon=True)
    process.start()
    return process


def _interruptible(target: Callable[..., object], *args: object) -> None:
    # a test run that a shell started in the background ignores Ctrl-C, one with nohup SIGHUP, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    target(*args)


def wait_for_running(url: str, number: int, process: ForkProcess) -> None:
    """Return once trial `number` of the study `study` is running in `process`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.is_alive(), "the process ended too early"
        try:
            states = [trial.state for trial in load_study("study", url).get_trials(deepcopy=False)]
        except StudyError:  # not created yet
            states = []
        if len(states) > number and states[number] is TrialState.RUNNING:
            return
        time.sleep(0.05)
    pytest.fail("the process did not come as far as it should")
