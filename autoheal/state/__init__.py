"""The engine's state: a pure fold of the log's records.

`State.apply` is the only thing that changes it, and looks at nothing but the record: no clock, no rules, no
settings. So the live state, the state after a restart and the state of a backtest are the same function of
the same lines: fold(a + b) = fold(fold(a), b). Every field is plain data that pydantic can write and read back.

A state is *founded* once it has seen the beginning of the log, or a whole snapshot: before that nothing is known
of what came earlier, and records only move its head.
"""

from autoheal.state.entities import (
    CANCELLED_BY_PEOPLE,
    TERMINAL,
    Approval,
    Charge,
    Dispute,
    End,
    Episode,
    Failure,
    Incident,
    LastDecision,
    Owed,
    Pause,
    Run,
    RunState,
    SelfTest,
    Silence,
    Spent,
    Suspect,
)
from autoheal.state.keeping import CHARGES_KEPT, CLOCK_SET_BACK, ENDED_RUNS_KEPT, ENDS_KEPT, REMEMBERED, SELFTESTS_KEPT
from autoheal.state.whole import State, budget_key, fold

__all__ = [
    "CANCELLED_BY_PEOPLE",
    "CHARGES_KEPT",
    "CLOCK_SET_BACK",
    "ENDED_RUNS_KEPT",
    "ENDS_KEPT",
    "REMEMBERED",
    "SELFTESTS_KEPT",
    "TERMINAL",
    "Approval",
    "Charge",
    "Dispute",
    "End",
    "Episode",
    "Failure",
    "Incident",
    "LastDecision",
    "Owed",
    "Pause",
    "Run",
    "RunState",
    "SelfTest",
    "Silence",
    "Spent",
    "State",
    "Suspect",
    "budget_key",
    "fold",
]
