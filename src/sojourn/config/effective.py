"""A configuration as it counts, with every default and without a secret, for people to look at."""

from __future__ import annotations

import io
from typing import Any

from sojourn.config.configuration import Configuration
from sojourn.config.wording import masked


def effective(configuration: Configuration) -> dict[str, Any]:
    """The sections under the names that they have in a file: the file's first, in its order, then the others.

    What may be a secret, and whatever came from the environment, is `***`. What is not set is not there.
    """
    sections = configuration.agent.model_dump(mode="json", by_alias=True, exclude_none=True)
    given = [section for section in configuration.sections if section in sections]
    ordered = {section: sections[section] for section in [*given, *sections]}
    whole: dict[str, Any] = masked(ordered, (), configuration.from_environment)
    return whole


def as_yaml(configuration: Configuration) -> str:
    """The effective configuration as YAML, which could be loaded again."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import
    from ruamel.yaml.representer import SafeRepresenter  # noqa: PLC0415

    class Representer(SafeRepresenter):
        """Texts of several lines are written as such."""

    def text(representer: SafeRepresenter, value: str) -> Any:
        style = "|" if "\n" in value else None
        return representer.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Representer.add_representer(str, text)
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 110
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # typed as None
    stream = io.StringIO()
    yaml.dump(effective(configuration), stream)
    return stream.getvalue()
