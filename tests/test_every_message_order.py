"""The protocol against an independent model of it, for all that can happen in any order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from model import FACTS, FOREIGN, MESSAGES, NONSENSE, PART_CRASHED, Model

from anylifespan import LifespanProtocolError
from anylifespan._core.protocol import TRANSITIONS, Event, Protocol, State

pytestmark = pytest.mark.exhaustible

ENDS = {"returned": Event.RETURN, "raised": Event.RAISE, "exited": Event.EXIT}
CUTS = {"ran out of time": Event.TIMEOUT, "nobody waits": Event.CANCEL}


def happens(protocol: Protocol, fact: str) -> bool:
    """Let it happen.

    :return: whether the application did what it may do
    """
    if fact == "received":
        protocol.receive_startup()
    elif fact == "asked":
        protocol.shutdown()
    elif fact == PART_CRASHED:
        protocol.part_crashes()
    elif fact in ENDS:
        protocol.end(ENDS[fact])
    elif fact in CUTS:
        protocol.cancel(CUTS[fact])
    else:
        try:
            protocol.send({"type": fact.removeprefix("sent ")})
        except LifespanProtocolError:
            return False
    return True


def seen(protocol: Protocol) -> tuple[object, ...]:
    return (protocol.state.name, protocol.phase, protocol.supported, protocol.served)


def expected(model: Model) -> tuple[object, ...]:
    return (model.state, model.phase, model.supported, model.started)


def copied(protocol: Protocol) -> Protocol:
    copy = Protocol()
    for name in Protocol.__slots__:
        setattr(copy, name, getattr(protocol, name))
    return copy


def sequences(length: int) -> int:
    """Try all sequences of so many facts that can come about; return how many there are."""

    def follow(protocol: Protocol, model: Model, so_far: tuple[str, ...]) -> int:
        tried = 1
        if len(so_far) == length:
            return tried
        for fact in FACTS:
            if not model.is_possible(fact):
                continue
            next_protocol, next_model = copied(protocol), model.copy()
            allowed = happens(next_protocol, fact)
            facts = (*so_far, fact)
            assert allowed == next_model.happens(fact), facts
            assert seen(next_protocol) == expected(next_model), facts
            tried += follow(next_protocol, next_model, facts)
        return tried

    return follow(Protocol(), Model(), ())


@pytest.mark.parametrize("length", [5, pytest.param(6, marks=pytest.mark.exhaustive)])
def test_all_sequences_up_to_a_length(length: int, figures: dict[str, int]) -> None:
    figures[f"sequences of up to {length} messages and events"] = sequences(length)


def pairs() -> Iterator[tuple[Protocol, Model, tuple[str, ...]]]:
    """All pairs of states that protocol and model can be in together, each by a shortest way."""
    queue: deque[tuple[Protocol, Model, tuple[str, ...]]] = deque([(Protocol(), Model(), ())])
    known: set[object] = set()
    while queue:
        protocol, model, facts = queue.popleft()
        yield protocol, model, facts
        for fact in FACTS:
            if model.is_possible(fact):
                next_protocol, next_model = copied(protocol), model.copy()
                happens(next_protocol, fact)
                next_model.happens(fact)
                key = (*seen(next_protocol), next_protocol.cancelled, *facts_in(next_model))
                if key not in known:
                    known.add(key)
                    queue.append((next_protocol, next_model, (*facts, fact)))


def facts_in(model: Model) -> tuple[object, ...]:
    return tuple(tuple(value) if value is model.said else value for value in vars(model).values())


def disagreements() -> Iterator[tuple[str, ...]]:
    """After what protocol and model differ; a sequence may have any length.

    Both are functions of their attributes, and there are so few of these that all can be visited.
    """
    for protocol, model, facts in pairs():
        if seen(protocol) != expected(model):
            yield facts
        for kind in MESSAGES:
            if happens(copied(protocol), f"sent {kind}") != model.copy().happens(f"sent {kind}"):
                yield (*facts, f"sent {kind}")


def test_all_sequences_of_any_length() -> None:
    assert list(disagreements()) == []
    assert {protocol.state for protocol, _, _ in pairs()} == set(State)


@pytest.mark.parametrize(
    ("state", "event"),
    [(state, event) for state, row in TRANSITIONS.items() for event in row],
    ids=lambda value: value.name,
)
def test_each_transition_matters(
    state: State, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it another one, or none, the model would notice."""
    row = TRANSITIONS[state]
    for other in [None, *(one for one in State if one is not row[event])]:
        with monkeypatch.context() as patch:
            if other is None:
                patch.delitem(row, event)
            else:
                patch.setitem(row, event, other)
            assert any(disagreements()), f"no difference if it led to {other}"


class ProtocolAndModel(RuleBasedStateMachine):
    """Longer sequences, with messages of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = Protocol()
        self.model = Model()

    @rule(fact=st.sampled_from(FACTS))
    def something_happens(self, fact: str) -> None:
        if self.model.is_possible(fact):
            assert happens(self.protocol, fact) == self.model.happens(fact)

    @rule(
        kind=st.sampled_from(MESSAGES) | st.text() | st.none() | st.integers(),
        more=st.dictionaries(st.text(), st.none() | st.text() | st.integers()),
    )
    def sends_something_odd(self, kind: Any, more: dict[str, Any]) -> None:
        before = seen(self.protocol)
        message = {**more, "type": kind}
        known = kind in MESSAGES[:4] and isinstance(message.get("message", ""), str)
        foreign = isinstance(kind, str) and kind.startswith(("http.", "websocket."))
        taken_for = kind if known else FOREIGN if foreign else NONSENSE
        try:
            self.protocol.send(message)
            allowed = True
        except LifespanProtocolError:
            allowed = False
        assert self.model.happens(f"sent {taken_for}") == allowed
        if not known and not foreign:
            assert seen(self.protocol) == before

    @precondition(lambda self: not self.model.cut)
    @rule(message=st.none() | st.text() | st.integers() | st.lists(st.integers()))
    def sends_what_is_no_message(self, message: object) -> None:
        with pytest.raises(LifespanProtocolError, match="not a message"):
            self.protocol.send(message)

    @invariant()
    def they_agree(self) -> None:
        assert seen(self.protocol) == expected(self.model)


TestProtocolAndModel = ProtocolAndModel.TestCase
TestProtocolAndModel.settings = settings(
    max_examples=100, stateful_step_count=30, derandomize=True, deadline=None, database=None
)
