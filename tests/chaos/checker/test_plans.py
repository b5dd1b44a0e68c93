"""A seed is a plan: the same again, and another for another seed."""

from itertools import pairwise

from tests.chaos.checker.fault_schedules import INJECTIONS_OF_SEVERAL
from tests.chaos.checker.plans import BY_BALANCER, PROBES, WEIGHTS, Shape, make_plan
from tests.chaos.checker.texts import chats_in, marker


def test_the_same_seed_gives_the_same_plan() -> None:
    shape = Shape(seconds=5.0)
    assert make_plan(7, shape) == make_plan(7, shape)
    assert make_plan(7, shape).fingerprint() == make_plan(7, shape).fingerprint()
    assert make_plan(7, shape).fingerprint() != make_plan(8, shape).fingerprint()


def test_everything_is_tried_and_everything_breaks() -> None:
    plan = make_plan(1, Shape(seconds=60.0))
    assert {action.kind for action in plan.actions} == set(WEIGHTS)
    assert {action.twist for action in plan.actions} >= set(PROBES)
    assert {injection.target_kind for injection in plan.schedule} == {"link", "database", "process"}


def test_of_several_nodes_everything_breaks_alone_and_in_pairs() -> None:
    plan = make_plan(1, Shape(seconds=90.0, nodes=3))
    kinds = {(injection.kind, injection.target) for injection in plan.schedule}
    assert kinds >= {(kind, target) for kind, (target, *_) in INJECTIONS_OF_SEVERAL.items()}
    heavy = [injection for injection in plan.schedule if injection.target in ("process", "redis")]
    together = [
        after.at < before.at + before.seconds and after.kind != before.kind
        for before, after in pairwise(heavy)
    ]
    assert {*together} == {True, False}
    assert {injection.node for injection in plan.schedule if injection.target == "database"} == {
        0,
        1,
        2,
    }


def test_one_kind_of_strike_can_be_all_that_breaks() -> None:
    plan = make_plan(1, Shape(seconds=30.0, nodes=3, faults="freeze_redis"))
    assert {injection.kind for injection in plan.schedule} == {"freeze_redis"}


def test_of_several_nodes_some_devices_know_one_and_none_of_them_polls() -> None:
    plan = make_plan(1, Shape(nodes=3))
    straight = [device for device in plan.devices if device.node != BY_BALANCER]
    assert 0 < len(straight) < len(plan.devices)
    assert {device.transport for device in straight} == {"websocket"}
    assert "everywhere" in {action.twist for action in plan.actions}


def test_one_node_is_reached_where_users_reach_it() -> None:
    plan = make_plan(1, Shape())
    assert {device.node for device in plan.devices} == {BY_BALANCER}
    assert {injection.node for injection in plan.schedule} == {0}
    assert "everywhere" not in {action.twist for action in plan.actions}


def test_nothing_breaks_in_a_quiet_plan() -> None:
    assert not make_plan(1, Shape(faults="none")).schedule


def test_every_text_says_whose_it_is() -> None:
    plan = make_plan(1, Shape(seconds=10.0))
    texts = [action.text for action in plan.actions if action.text]
    assert len(set(texts)) == len(texts)
    assert all(list(chats_in(a.text)) == [a.chat] for a in plan.actions if a.text)
    assert list(chats_in(f"a {marker(3, 5)} b")) == [3]


def test_whoever_takes_part_in_everything_probes_nothing() -> None:
    plan = make_plan(1, Shape(seconds=10.0, clients=1, owners=1, chats=2))
    people = {device.name: device.person.name for device in plan.devices}
    probing = {people[action.device] for action in plan.actions if action.kind == "probe"}
    assert probing == {"outsider0", "outsider1"}


def test_nobody_probes_their_own_conversation() -> None:
    plan = make_plan(1, Shape(seconds=10.0))
    owners = {device.name: device.person for device in plan.devices}
    for action in plan.actions:
        if action.kind == "probe":
            assert owners[action.device] not in plan.chats[action.chat].people
