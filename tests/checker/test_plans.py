"""A seed is a plan: the same again, and another for another seed."""

from tests.checker.plans import PROBES, WEIGHTS, Shape, make_plan
from tests.checker.texts import chats_in, marker


def test_the_same_seed_gives_the_same_plan() -> None:
    shape = Shape(seconds=5.0)
    assert make_plan(7, shape) == make_plan(7, shape)
    assert make_plan(7, shape).fingerprint() == make_plan(7, shape).fingerprint()
    assert make_plan(7, shape).fingerprint() != make_plan(8, shape).fingerprint()


def test_everything_is_tried_and_everything_breaks() -> None:
    plan = make_plan(1, Shape(seconds=60.0))
    assert {action.kind for action in plan.actions} == set(WEIGHTS)
    assert {action.twist for action in plan.actions} >= set(PROBES)
    assert {strike.target_kind for strike in plan.strikes} == {"link", "database", "process"}


def test_nothing_breaks_in_a_quiet_plan() -> None:
    assert not make_plan(1, Shape(faults="none")).strikes


def test_every_text_says_whose_it_is() -> None:
    plan = make_plan(1, Shape(seconds=10.0))
    texts = [action.text for action in plan.actions if action.text]
    assert len(set(texts)) == len(texts)
    assert all(list(chats_in(a.text)) == [a.chat] for a in plan.actions if a.text)
    assert list(chats_in(f"a {marker(3, 5)} b")) == [3]


def test_nobody_probes_their_own_conversation() -> None:
    plan = make_plan(1, Shape(seconds=10.0))
    owners = {device.name: device.person for device in plan.devices}
    for action in plan.actions:
        if action.kind == "probe":
            assert owners[action.device] not in plan.chats[action.chat].people
