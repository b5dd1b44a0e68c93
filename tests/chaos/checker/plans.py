"""The plan of a run: who takes part, who does what when, and what breaks. All from one seed."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from chatserver.models import Role
from tests.chaos.checker.fault_schedules import Injection, make_schedule
from tests.chaos.checker.texts import write_text

WEIGHTS = {
    "send": 60, "read": 12, "edit": 5, "delete": 3, "archive": 3, "history": 3, "typing": 3,
    "join": 2, "view": 2, "list": 1, "unread": 1, "presence": 1, "probe": 5, "reconnect": 2,
    "sync": 2, "leave": 1, "open": 1, "reinstall": 0.6, "authenticate": 0.3, "pause": 0.4,
}  # fmt: skip
"""How often each action is chosen, relative to the others."""

TWISTS = {"": 72, "twice": 8, "again": 6, "unkeyed": 6, "once": 3, "conflict": 2, "bad": 2,
          "blank": 1}  # fmt: skip
"""What is special about a send: nothing, or it is sent over both transports at once, repeated
after its acknowledgement, without a key, never repeated, or to be refused."""

TWISTS_OF_SEVERAL = {**TWISTS, "everywhere": 6}
"""With several nodes it may also be sent through all of them at once."""

NO_KEY = UUID(int=0)

TOKEN_TTL = 3 * 3600.0
"""Seconds; more than any clock is ever wrong by."""

PROBES = (
    "join", "leave", "message", "edit", "delete", "typing", "delivered", "read", "read_message",
    "sync", "view", "history", "post", "archive", "read_rest", "edit_rest", "delete_rest",
    "presence",
)  # fmt: skip
"""What outsiders try on a conversation that is not theirs."""

BY_BALANCER = -1
"""The `node` of a device that connects wherever users do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a run is. `rate`: actions in a second. `faults`: as `make_schedule` takes them.
    With more than one node they are behind a balancer and have a Redis."""

    seconds: float = 20.0
    rate: float = 150.0
    clients: int = 6
    owners: int = 3
    outsiders: int = 2
    leavers: int = 1
    chats: int = 12
    faults: str = "all"
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    id: UUID
    role: Role


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device. `receives`: it applies events, or else lives from `sync` alone, which it
    repeats every `interval` seconds. `reports`: it says what was delivered.
    `page`: how many conversations it asks `sync` for at once. `node`: the one that it
    connects to first, past the balancer; or BY_BALANCER."""

    name: str
    person: Person
    transport: str
    receives: bool
    reports: bool
    page: int
    interval: float
    token_ttl: float
    node: int = BY_BALANCER


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """A conversation that there will be; `number` is in its texts."""

    number: int
    client: Person
    owner: Person
    listing_id: UUID

    @property
    def people(self) -> tuple[Person, Person]:
        return self.client, self.owner


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a device does `at` so many seconds after the beginning.

    `pick` (0 to 1) chooses among the messages that there are by then. `transport` is
    "socket" or "rest". The service writes without a device: `device` is "".
    """

    at: float
    kind: str
    device: str
    chat: int
    transport: str
    pick: float
    text: str = ""
    key: UUID = NO_KEY
    twist: str = ""


@dataclass(frozen=True, slots=True)
class Leaver:
    """A tenant whom the host deletes `at` so many seconds after the beginning; until then
    they write these texts, with these keys, one after the other."""

    person: Person
    chat: ChatSpec
    at: float
    messages: Sequence[tuple[str, UUID]]


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    shape: Shape
    people: Sequence[Person]
    service: Person
    devices: Sequence[DeviceSpec]
    chats: Sequence[ChatSpec]
    actions: Sequence[Action]
    schedule: Sequence[Injection]
    leavers: Sequence[Leaver] = ()
    is_in_turn: bool = False
    """Whether `at` is no time, but the number of a step: what has one number happens at
    once, and while what is to break in that step is broken."""

    def fingerprint(self) -> str:
        """The same for the same plan: a replay shows that it is one."""
        return hashlib.blake2b(repr(self).encode(), digest_size=6).hexdigest()


@dataclass(slots=True)
class Draft:
    """A plan in the making: everything in it comes from one seed."""

    rng: random.Random
    shape: Shape
    numbers: int = 0
    people: list[Person] = field(default_factory=list)
    devices: list[DeviceSpec] = field(default_factory=list)
    chats: list[ChatSpec] = field(default_factory=list)

    def uuid(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def person(self, name: str, role: Role) -> Person:
        return Person(name, self.uuid(), role)

    def choose(self, weights: dict[str, float] | dict[str, int]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def number(self) -> int:
        self.numbers += 1
        return self.numbers


def make_plan(seed: int, shape: Shape) -> Plan:
    """The plan of `seed`: the same for the same two arguments."""
    draft = Draft(random.Random(seed), shape)
    service = draft.person("service", Role.SERVICE)
    _add_people(draft)
    _add_devices(draft)
    actions = sorted([*_actions(draft), *_probes(draft)], key=lambda action: action.at)
    names = [device.name for device in draft.devices]
    schedule = make_schedule(
        draft.rng, faults=shape.faults, seconds=shape.seconds, names=names, nodes=shape.nodes
    )
    leavers, answers = _leavers(draft)
    return Plan(
        seed,
        shape,
        draft.people,
        service,
        draft.devices,
        [*draft.chats, *(leaver.chat for leaver in leavers)],
        sorted([*actions, *answers], key=lambda action: action.at),
        schedule,
        leavers,
    )


def _leavers(draft: Draft) -> tuple[list[Leaver], list[Action]]:
    """Each writes to an owner, who answers, reads and edits before it is deleted and after."""
    rng, seconds = draft.rng, draft.shape.seconds
    leavers: list[Leaver] = []
    answers: list[Action] = []
    owners = [person for person in draft.people if person.role is Role.OWNER]
    for number in range(draft.shape.leavers):
        person = draft.person(f"leaver{number}", Role.CLIENT)
        chat = ChatSpec(draft.shape.chats + number, person, rng.choice(owners), draft.uuid())
        texts = [write_text(rng, chat.number, draft.number()) for _ in range(int(seconds * 4))]
        at = round(seconds * rng.uniform(0.4, 0.6), 4)
        leavers.append(Leaver(person, chat, at, [(text, draft.uuid()) for text in texts]))
        devices = [one for one in draft.devices if one.person is chat.owner and one.receives]
        for _ in range(int(seconds)):
            kind = rng.choice(("send", "send", "read", "edit", "archive", "history", "view"))
            answers.append(
                make_action(
                    draft, rng.uniform(0.1, 1.0) * seconds, kind, rng.choice(devices).name, chat
                )
            )
    return leavers, answers


def _add_people(draft: Draft) -> None:
    """Each pair of a client and an owner has at most one conversation on a listing."""
    shape = draft.shape
    clients = [draft.person(f"client{n}", Role.CLIENT) for n in range(shape.clients)]
    owners = [draft.person(f"owner{n}", Role.OWNER) for n in range(shape.owners)]
    outsiders = [draft.person(f"outsider{n}", Role.CLIENT) for n in range(shape.outsiders)]
    draft.people = [*clients, *owners, *outsiders]
    for number in range(shape.chats):
        client = clients[number % len(clients)]
        owner = owners[draft.rng.randrange(len(owners))]
        draft.chats.append(ChatSpec(number, client, owner, draft.uuid()))


def _add_devices(draft: Draft) -> None:
    """Two for each person, and a third that only syncs for some; mostly websockets."""
    rng = draft.rng
    for index, person in enumerate(draft.people):
        count = 3 if index % 3 == 0 else 2
        for number in range(count):
            is_partitioned = number == 2
            transport = "polling" if rng.random() < 0.15 else "websocket"
            draft.devices.append(
                DeviceSpec(
                    name=f"{person.name}/{'abc'[number]}",
                    person=person,
                    transport=transport,
                    receives=not is_partitioned,
                    # One owner's devices say nothing: what they hold stays "sent".
                    reports=person.name != "owner0" and not is_partitioned,
                    page=rng.choice((1, 2, 3, 100)),
                    interval=rng.uniform(0.1, 0.3),
                    token_ttl=4.0 if index % 5 == 4 and number == 1 else TOKEN_TTL,
                    node=_some_node(draft, transport),
                )
            )


def _some_node(draft: Draft, transport: str) -> int:
    """Half of the websockets know their node; what polls needs the balancer's cookie."""
    nodes = draft.shape.nodes
    if nodes == 1 or transport == "polling" or draft.rng.random() < 0.5:
        return BY_BALANCER
    return draft.rng.randrange(nodes)


def _actions(draft: Draft) -> Iterator[Action]:
    rng, shape = draft.rng, draft.shape
    hearing = [device for device in draft.devices if device.receives]
    twists = TWISTS if shape.nodes == 1 else TWISTS_OF_SEVERAL
    at = 0.0
    while (at := at + rng.expovariate(shape.rate)) < shape.seconds:
        kind = draft.choose(WEIGHTS)
        if kind == "probe":
            device = rng.choice(draft.devices)
            if strange := _strange(draft, device):
                chat = rng.choice(strange)
                yield make_action(draft, at, kind, device.name, chat, twist=rng.choice(PROBES))
        elif kind == "send" and rng.random() < 0.04:
            yield make_action(draft, at, kind, "", _some_chat(draft, draft.chats))
        else:
            device = rng.choice(hearing)
            own = [chat for chat in draft.chats if device.person in chat.people]
            if own:
                chat = _some_chat(draft, own)
                twist = draft.choose(twists) if kind == "send" else ""
                yield make_action(draft, at, kind, device.name, chat, twist=twist)


def _probes(draft: Draft) -> Iterator[Action]:
    """Whatever chance leaves out, everything is tried once."""
    devices = [device for device in draft.devices if device.receives and _strange(draft, device)]
    for twist in PROBES:
        device = draft.rng.choice(devices)
        strange = _strange(draft, device)
        at = draft.rng.uniform(0.4, 0.9) * draft.shape.seconds
        yield make_action(draft, at, "probe", device.name, draft.rng.choice(strange), twist)


def _strange(draft: Draft, device: DeviceSpec) -> list[ChatSpec]:
    """The conversations that are none of the device's business."""
    return [chat for chat in draft.chats if device.person not in chat.people]


def _some_chat(draft: Draft, chats: Sequence[ChatSpec]) -> ChatSpec:
    """Some conversations are much busier than others."""
    return chats[min(int(draft.rng.expovariate(2.0 / len(chats))), len(chats) - 1)]


def make_action(
    draft: Draft, at: float, kind: str, device: str, chat: ChatSpec, twist: str = ""
) -> Action:
    rng = draft.rng
    writes = kind in ("send", "edit") or twist in ("message", "edit", "post", "edit_rest")
    return Action(
        at=round(at, 4),
        kind=kind,
        device=device,
        chat=chat.number,
        transport="rest" if rng.random() < 0.25 or not device else "socket",
        pick=rng.random(),
        text=write_text(rng, chat.number, draft.number()) if writes else "",
        key=draft.uuid(),
        twist=twist,
    )
