"""What every JSON object that is answered has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema


class Wire(BaseModel):
    """A JSON object in camelCase; a field that was not set is not sent."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    sample: ClassVar[dict[str, Any]] = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        if cls.sample:
            schema["example"] = cls.sample
        return schema
