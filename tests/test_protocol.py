"""The protocol by itself: a table, without an event loop."""

from __future__ import annotations

import pytest

from anylifespan import LifespanProtocolError, Phase
from anylifespan._core.protocol import (
    ENDED,
    LAST_WORDS,
    MESSAGES,
    STARTUP,
    TRANSITIONS,
    Event,
    Protocol,
    State,
)

RUNNING = set(State) - ENDED


def protocol_in(state: State) -> Protocol:
    protocol = Protocol()
    protocol.state = state
    protocol.cancelled = state in (
        State.START_LATE,
        State.START_CANCELLING,
        State.STOP_LATE,
        State.STOP_CANCELLING,
    )
    return protocol


@pytest.mark.parametrize("state", sorted(RUNNING, key=lambda state: state.name))
def test_an_application_may_always_end(state: State) -> None:
    for how in (Event.RETURN, Event.RAISE, Event.EXIT):
        protocol = protocol_in(state)
        protocol.end(how)
        assert protocol.state in ENDED


@pytest.mark.parametrize("state", sorted(RUNNING, key=lambda state: state.name))
def test_once_cancelled_what_it_does_makes_no_difference(state: State) -> None:
    ends = set()
    for message in [*MESSAGES, "http.response.start", "nonsense", None]:
        for how in (Event.RETURN, Event.RAISE):
            protocol = protocol_in(state)
            protocol.cancel(Event.TIMEOUT)
            assert protocol.send({"type": message}) is None
            protocol.end(how)
            ends.add(protocol.state)
    assert len(ends) == 1


@pytest.mark.parametrize("state", sorted(State, key=lambda state: state.name))
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_in_the_table_or_an_error_that_changes_nothing(
    state: State, kind: str
) -> None:
    protocol = protocol_in(state)
    following = TRANSITIONS.get(state, {}).get(MESSAGES[kind])
    if protocol.cancelled:
        assert protocol.send({"type": kind}) is None
    elif following is None:
        with pytest.raises(LifespanProtocolError) as info:
            protocol.send({"type": kind})
        assert str(info.value).startswith(f"the application sent {kind} after {state.value}; exp")
        assert protocol.state is state
    else:
        assert protocol.send({"type": kind}) is MESSAGES[kind]
        assert protocol.state is following


@pytest.mark.parametrize("state", sorted(ENDED, key=lambda state: state.name))
def test_what_has_ended_can_only_be_asked_to_shut_down(state: State) -> None:
    for event in set(Event) - {Event.SHUTDOWN}:
        assert event not in TRANSITIONS.get(state, {})
    protocol = protocol_in(state)
    if protocol.shutdown():
        assert protocol.state is State.STOPPED
    assert protocol.phase in (Phase.STOPPED, Phase.FAILED)


def test_the_last_word_is_the_last() -> None:
    for state in LAST_WORDS:
        assert not any(event in TRANSITIONS[state] for event in MESSAGES.values())


def test_every_state_is_reached_and_left() -> None:
    reached = {State.CALLED, State.EXITED}
    for row in TRANSITIONS.values():
        reached.update(row.values())
    assert reached == set(State)
    assert set(TRANSITIONS) >= RUNNING
    assert STARTUP <= RUNNING


@pytest.mark.parametrize(
    ("steps", "supported", "phase"),
    [
        ([], None, Phase.STARTING),
        (["lifespan.startup.complete"], True, Phase.SERVING),
        (["lifespan.startup.failed"], True, Phase.FAILED),
        (["http.response.start"], False, Phase.STARTING),
        ([Event.RETURN], False, Phase.SERVING),
        ([Event.TIMEOUT], None, Phase.FAILED),
        ([Event.CANCEL], None, Phase.STOPPING),
        (["lifespan.startup.complete", Event.SHUTDOWN], True, Phase.STOPPING),
        (["lifespan.startup.complete", Event.RETURN, Event.SHUTDOWN], True, Phase.STOPPED),
        (["lifespan.startup.complete", Event.RAISE], True, Phase.FAILED),
    ],
)
def test_what_the_callers_see(steps: list[str | Event], supported: bool, phase: Phase) -> None:
    protocol = Protocol()
    protocol.receive_startup()
    for step in steps:
        if isinstance(step, str):
            try:
                protocol.send({"type": step})
            except LifespanProtocolError:
                assert step.startswith("http.")
        elif step in (Event.TIMEOUT, Event.CANCEL):
            protocol.cancel(step)
        elif step is Event.SHUTDOWN:
            protocol.shutdown()
        else:
            protocol.end(step)
    assert (protocol.supported, protocol.phase) == (supported, phase)


@pytest.mark.parametrize(
    ("length", "shown"),
    [(3, "'xxx'"), (98, "'" + 98 * "x" + "'"), (99, "'" + 96 * "x" + "...")],
    ids=["short", "whole", "shortened"],
)
def test_what_is_no_message_is_shown_in_a_hundred_characters(length: int, shown: str) -> None:
    with pytest.raises(LifespanProtocolError) as info:
        Protocol().send(length * "x")
    assert str(info.value).endswith(f"got str: {shown}")
