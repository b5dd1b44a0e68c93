"""The settings in force, as a TOML file that says where each value is from."""

import json
from collections.abc import Iterator, Mapping

from chatserver.settings import Settings, known_settings
from chatserver.settings.sources import Given


def list_settings(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """The lines of a file that `--config` takes; secrets stand in it as comments, without
    their values. `given` is what `settings` was made of."""
    section = None
    for setting in known_settings().values():
        if setting.section != section:
            yield f"[{setting.section}]" if section is None else f"\n[{setting.section}]"
            section = setting.section
        value = getattr(getattr(settings, setting.section), setting.key)
        source = f"# {given[setting.name].source}"
        if setting.is_secret and value:
            yield f"# {setting.key} is set  {source}"
        else:
            # What JSON says of text, numbers and lists, TOML understands.
            yield f"{setting.key} = {json.dumps(value, ensure_ascii=False)}  {source}"
