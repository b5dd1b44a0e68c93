"""A plan in which everything is done once, in turn: it brings every planted fault to light."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chatserver.models import Role
from tests.chaos.checker.fault_schedules import Injection
from tests.chaos.checker.plans import (
    BY_BALANCER,
    PROBES,
    TOKEN_TTL,
    TWISTS,
    TWISTS_OF_SEVERAL,
    Action,
    ChatSpec,
    DeviceSpec,
    Draft,
    Leaver,
    Person,
    Plan,
    Shape,
    make_action,
)
from tests.chaos.checker.texts import write_text

BREAKING = {
    "slow": Injection(0.0, "delay", "database", 0.15),
    "stop_receiving_once": Injection(0.0, "stop_receiving_once", "redis", 3.5),
    "kill_server": Injection(0.0, "kill_server", "process", 0.0, node=2),
    "no_partition": Injection(0.0, "no_partition", "process", 0.5),
}
"""What may break at the end of a tour, one after the other."""

DEPARTURE = "departure"
"""Nothing breaks, but the host deletes a tenant in the course of the tour."""

CLIENT, OTHER, SILENT, OWNER, OUTSIDER = range(5)
"""The people: the devices of SILENT, an owner, never say that they hold anything."""

ROLES = (Role.CLIENT, Role.CLIENT, Role.OWNER, Role.OWNER, Role.CLIENT)
NAMES = ("client0", "client1", "owner0", "owner1", "outsider0")

PAIRS = ((CLIENT, OWNER), (CLIENT, SILENT), (OTHER, OWNER), (OTHER, SILENT), (CLIENT, OWNER))
"""Who holds each conversation."""

FIRST_NODES = dict(zip(NAMES, (0, 0, 0, 2, 2), strict=True))
"""Of three, where the first device of each connects; the second always to the node 1. A node
that does not hear the others has to have the first of SILENT, and one that is killed somebody
who leaves later."""

A, B = "client0/a", "client0/b"
C, D = "owner1/a", "owner1/b"
"""The devices of the first conversation."""

FIRST, MIDDLE, LAST = 0.0, 0.5, 0.999
"""The `pick` of an action that is to choose one of several."""

EDITS = 6
"""Of each device, one after the other."""


def make_tour(seed: int, *, nodes: int = 1, around: Iterable[str] = ()) -> Plan:
    """The same for the same arguments. `around` are of BREAKING, or DEPARTURE."""
    names = [name for name in around if name != DEPARTURE]
    shape = Shape(0.0, 0.0, 2, 2, 1, DEPARTURE in around, len(PAIRS), "+".join(names) or "none",
                  nodes)  # fmt: skip
    draft = Draft(random.Random(seed), shape)
    service = draft.person("service", Role.SERVICE)
    draft.people = [draft.person(*each) for each in zip(NAMES, ROLES, strict=True)]
    for number, (client, owner) in enumerate(PAIRS):
        chat = ChatSpec(number, draft.people[client], draft.people[owner], draft.uuid())
        draft.chats.append(chat)
    for person in draft.people:
        draft.devices += _devices(person, nodes)
    tour = _Tour(draft)
    tour.go(names)
    leavers = [_leaver(draft) for _ in range(shape.leavers)]
    chats = [*draft.chats, *(leaver.chat for leaver in leavers)]
    return Plan(seed, shape, draft.people, service, draft.devices, chats, tour.actions,
                tour.schedule, leavers, is_in_turn=True)  # fmt: skip


def _devices(person: Person, nodes: int) -> Iterator[DeviceSpec]:
    """Two for each, on different nodes; a third that only syncs for the first conversation."""
    polls = person.name == NAMES[OTHER]
    first = DeviceSpec(
        name=f"{person.name}/a",
        person=person,
        transport="polling" if polls else "websocket",
        receives=True,
        reports=person.name != NAMES[SILENT],
        page=100,
        interval=0.1,
        token_ttl=TOKEN_TTL,
        node=BY_BALANCER if nodes == 1 or polls else FIRST_NODES[person.name],
    )
    yield first
    yield replace(first, name=f"{person.name}/b", transport="websocket", page=1,
                  node=BY_BALANCER if nodes == 1 else 1)  # fmt: skip
    if person.name in (NAMES[CLIENT], NAMES[OWNER]):
        yield replace(first, name=f"{person.name}/c", receives=False, reports=False, page=2,
                      node=BY_BALANCER)  # fmt: skip


def _leaver(draft: Draft) -> Leaver:
    """Writes until the host deletes them, which it does after the first message."""
    person = draft.person("leaver0", Role.CLIENT)
    chat = ChatSpec(len(PAIRS), person, draft.people[OWNER], draft.uuid())
    texts = [write_text(draft.rng, chat.number, draft.number()) for _ in range(40)]
    return Leaver(person, chat, 0.0, [(text, draft.uuid()) for text in texts])


class _Tour:
    """The steps, by their numbers."""

    def __init__(self, draft: Draft) -> None:
        self.actions: list[Action] = []
        self.schedule: list[Injection] = []
        self._draft = draft
        self._number = 0

    def go(self, around: Iterable[str]) -> None:
        self._open_and_join()
        self._burst()
        self._send_in_every_way()
        self._receipts()
        self._change()
        self._come_back()
        self._probe()
        self._look()
        self._burst()
        for name in around:
            self.schedule.append(replace(BREAKING[name], at=self._number))
            if name == "slow":
                self._edit_often()
            else:
                self._burst()

    def _step(self, *actions: Action) -> None:
        """All at once, and the next step when all of it is done."""
        self.actions += actions
        self._number += 1

    def _do(
        self, kind: str, device: str, pick: float = MIDDLE, *, chat: int = 0, twist: str = "",
        transport: str = "socket",
    ) -> Action:  # fmt: skip
        spec = self._draft.chats[chat]
        action = make_action(self._draft, self._number, kind, device, spec, twist)
        return replace(action, pick=pick, transport=transport if device else "rest")

    def _open_and_join(self) -> None:
        """What is open already is opened once more."""
        for number, (client, _) in enumerate(PAIRS):
            self._step(self._do("open", f"{NAMES[client]}/a", chat=number))
        joins = [self._do("join", device) for device in (A, B, C, D)]
        self._step(*joins, *(self._do("join", A, chat=number) for number in (1, 4)))

    def _burst(self) -> None:
        """Everybody sends, by both transports, several at once in the first conversation."""
        sends = [
            self._do("send", device, transport=transport)
            for transport in ("socket", "rest", "socket")
            for device in (A, B, C, D)
        ]
        sends += [self._do("send", ""), self._do("send", "owner0/b", chat=1)]
        sends += [self._do("send", "client1/a", chat=number) for number in (2, 3)]
        sends += [self._do("send", "client1/b", chat=number) for number in (2, 3)]
        self._step(*sends, self._do("send", A, chat=4))

    def _edit_often(self) -> None:
        """Some transaction is open nearly all the time, and some device syncs."""
        self._step(*(self._do("edit", device) for device in (A, B, C, D) for _ in range(EDITS)))

    def _send_in_every_way(self) -> None:
        """Twice, since it takes a key that is there already to notice some of it."""
        twists = TWISTS if self._draft.shape.nodes == 1 else TWISTS_OF_SEVERAL
        for device in (A, C):
            self._step(*(self._do("send", device, twist=twist) for twist in twists))

    def _receipts(self) -> None:
        """Read from an earlier message on to the last one, or the last but one."""
        for pick, transport in (
            (LAST, "socket"),
            (MIDDLE, "rest"),
            (0.2, "socket"),
            (FIRST, "rest"),
        ):
            self._step(
                self._do("read", D, pick, transport=transport),
                self._do("read", B, pick, transport=transport),
            )
        self._step(self._do("send", A, chat=4), self._do("send", A, chat=4))
        self._step(self._do("read", C, 0.2, chat=4))

    def _change(self) -> None:
        """Edits and deletes, also of what nobody has read; archiving, and what ends it."""
        self._step(self._do("edit", A, LAST), self._do("edit", C, LAST, transport="rest"))
        self._step(self._do("delete", B, LAST), self._do("delete", D, MIDDLE, transport="rest"))
        self._step(self._do("delete", "client1/b", LAST, chat=3))
        self._step(self._do("archive", C, FIRST), self._do("archive", B, FIRST, chat=1))
        self._step(self._do("send", A), self._do("send", A, chat=1))
        self._step(self._do("archive", C, FIRST, chat=2))
        self._step(self._do("archive", C, LAST, chat=2))

    def _come_back(self) -> None:
        """After an edit, after a message, and with nothing."""
        for change in ("edit", "send", "delete"):
            self._step(self._do("away", B))
            self._step(self._do(change, C, MIDDLE))
            self._step(self._do("back", B))
        self._step(self._do("reinstall", B))
        self._step(self._do("reconnect", D))
        self._step(*(self._do("wait", device) for device in (B, D)))

    def _probe(self) -> None:
        """What outsiders try; who got into the room then receives the others type."""
        for twist in PROBES:
            self._step(*(self._do("probe", f"outsider0/{each}", twist=twist) for each in "ab"))
            if twist == "join":
                self._step(*(self._do("typing", device, FIRST) for device in (A, C)))

    def _look(self) -> None:
        for pick, transport in ((FIRST, "socket"), (MIDDLE, "rest"), (LAST, "socket")):
            self._step(
                *(self._do("history", device, pick, transport=transport) for device in (A, C)),
                *(
                    self._do(kind, A, pick, transport=transport)
                    for kind in ("view", "list", "unread")
                ),
                *(self._do(kind, C, pick, transport=transport) for kind in ("presence", "sync")),
            )
        self._step(self._do("authenticate", A), self._do("leave", D))
