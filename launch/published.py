"""Published values by name: the files of `conf/published/`, each checked to say where its values come from."""

from __future__ import annotations

import yaml

from inbol.config.load import ConfigError, from_mapping
from inbol.reporting.published import PublishedTable
from launch.compose import CONF, names


def load_published(name: str) -> PublishedTable:
    """The table `conf/published/<name>.yaml`. Raises ConfigError for a name that does not exist and for every mistake in the file."""
    path = CONF / "published" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError([f"published: there is no {name!r}; there are {', '.join(names(CONF / 'published'))}"])
    return from_mapping(PublishedTable, yaml.safe_load(path.read_text(encoding="utf-8")), f"conf/published/{name}.yaml")
