"""[members]: who may add and remove the members of conversations."""

from dataclasses import dataclass

from chatserver.settings.section import Section


@dataclass(frozen=True, slots=True)
class MemberSettings(Section):
    by_people: bool
