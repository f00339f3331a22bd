"""The sections of an agent.yml, as they are written: what is allowed in each, and what holds where nothing is said.

Keys are camelCase in the file and snake_case here. Unknown keys are errors; only entries of `tools`, `hooks` and a
storage's own settings are open, because what they hold depends on their `type`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

#: A string that is not empty, without the space around it.
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

#: Integers that may also be written as strings, as environment variables are.
Count = Annotated[int, Field(gt=0)]
#: Integers that may not.
StrictCount = Annotated[int, Field(gt=0, strict=True)]

PROVIDERS = (
    "openai", "openai-compatible", "anthropic", "google", "groq", "xai", "cohere", "openrouter", "litellm", "glama",
    "vertex", "bedrock",
)  # fmt: skip

Provider = Literal[
    "openai", "openai-compatible", "anthropic", "google", "groq", "xai", "cohere", "openrouter", "litellm", "glama",
    "vertex", "bedrock",
]  # fmt: skip


class Section(BaseModel):
    """A mapping of the file in which an unknown key is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=False, hide_input_in_errors=True
    )


class OpenSection(Section):
    """A mapping that may hold more than what is known here."""

    model_config = ConfigDict(extra="allow")


# -- the model


class Reasoning(Section):
    """How much the model thinks before it answers."""

    variant: Name | None = None
    budget_tokens: Count | None = None


class LLM(Section):
    """The model and how it is asked."""

    provider: Provider
    model: Name
    api_key: str | None = None
    base_url: Name | None = Field(default=None, alias="baseURL")
    max_iterations: Count | None = None
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    allowed_media_types: list[Name] | None = None
    reasoning: Reasoning | None = None


class Contributor(Section):
    """One piece of the system prompt; pieces are put together by priority, the lowest first."""

    id: Name
    priority: Annotated[int, Field(ge=0)]
    enabled: bool = True


class StaticContributor(Contributor):
    """A text."""

    type: Literal["static"]
    content: Name


class DynamicContributor(Contributor):
    """What is true at the moment of asking."""

    type: Literal["dynamic"]
    source: Literal["date", "env", "resources"]


class FileOptions(Section):
    """How files are read and put together."""

    include_filenames: bool = True
    separator: str = "\n\n---\n\n"
    error_handling: Literal["skip", "error"] = "skip"
    max_file_size: Count = 100_000
    include_metadata: bool = False


class FileContributor(Contributor):
    """The text of files, read anew for every turn."""

    type: Literal["file"]
    files: Annotated[list[Name], Field(min_length=1)]
    options: FileOptions = FileOptions()


AnyContributor = Annotated[StaticContributor | DynamicContributor | FileContributor, Field(discriminator="type")]


def default_contributors() -> list[AnyContributor]:
    """What an empty `systemPrompt` mapping stands for."""
    return [
        DynamicContributor(id="date", type="dynamic", source="date", priority=10),
        DynamicContributor(id="env", type="dynamic", source="env", priority=15),
        DynamicContributor(id="resources", type="dynamic", source="resources", priority=20, enabled=False),
    ]


class SystemPrompt(Section):
    """What the model is told before every conversation; a plain string is one static piece with the id `inline`."""

    contributors: Annotated[list[AnyContributor], Field(min_length=1)] = Field(default_factory=default_contributors)


# -- the tools


class MCPServer(Section):
    """A server whose tools the agent can use."""

    enabled: bool = True
    #: Milliseconds.
    timeout: Count = 30_000
    connection_mode: Literal["lenient", "strict"] = "lenient"


class StdioServer(MCPServer):
    """A child process."""

    type: Literal["stdio"]
    command: Name
    args: list[str] = []
    env: dict[str, str] = {}


def _url(text: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - seldom needed

    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("a URL that begins with http:// or https://")
    return text


URL = Annotated[Name, AfterValidator(_url)]


class SSEServer(MCPServer):
    """A server over HTTP with server-sent events, the older kind."""

    type: Literal["sse"]
    url: URL
    headers: dict[str, str] = {}


class HTTPServer(MCPServer):
    """A server over streamable HTTP."""

    type: Literal["http"]
    url: URL
    headers: dict[str, str] = {}


AnyServer = Annotated[StdioServer | SSEServer | HTTPServer, Field(discriminator="type")]


class ToolPolicies(Section):
    """Which tools need no question."""

    always_allow: list[Name] = []


class Permissions(Section):
    """Who decides whether a tool may run."""

    mode: Literal["manual", "auto-approve"] = "auto-approve"
    #: Milliseconds; None: a question waits for ever.
    timeout: Count | None = None
    allowed_tools_storage: Literal["memory", "storage"] = "storage"
    tool_policies: ToolPolicies = ToolPolicies()


class Elicitation(Section):
    """Whether tools may ask the person something."""

    enabled: bool = False
    timeout: Count | None = None


class Typed(OpenSection):
    """An entry whose settings depend on its type."""

    type: Name
    enabled: bool | None = None


# -- storage, sessions


class Backend(OpenSection):
    """A place to keep something."""

    type: Name


class Database(OpenSection):
    """Where sessions are kept."""

    type: Literal["in-memory", "sqlite", "postgres"]
    path: Name | None = None
    url: str | None = None
    connection_string: str | None = None


class Storage(Section):
    """Where things are kept; Sojourn keeps everything in the database."""

    cache: Backend | None = None
    database: Database | None = None
    blob: Backend | None = None


class Sessions(Section):
    """How many sessions live in memory, and how long an idle one stays."""

    max_sessions: StrictCount = 100
    #: Milliseconds.
    session_ttl: StrictCount = Field(default=3_600_000, alias="sessionTTL")


# -- identity and the rest


class AgentCard(OpenSection):
    """The agent as others see it (A2A)."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Name
    url: URL
    version: Name
    protocol_version: Name = "0.3.0"
    provider: dict[str, Any] | None = None
    icon_url: str | None = None
    documentation_url: str | None = None
    preferred_transport: str | None = None
    additional_interfaces: list[dict[str, Any]] | None = None
    capabilities: dict[str, Any] = {}
    default_input_modes: list[str] = []
    default_output_modes: list[str] = []
    skills: list[dict[str, Any]] = []
    security_schemes: dict[str, Any] | None = None
    security: list[dict[str, Any]] | None = None
    supports_authenticated_extended_card: bool | None = None
    signatures: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None


class Memories(Section):
    """What the agent remembers over conversations."""

    enabled: bool = False
    priority: Annotated[int, Field(ge=0)] = 40
    include_timestamps: bool = False
    include_tags: bool = True
    limit: Count | None = None
    pinned_only: bool = False


class AgentFile(Section):
    """Whether instructions of the project's folder are found by themselves."""

    discover_in_cwd: bool = True


class Transport(OpenSection):
    """Where log lines go."""

    type: Literal["silent", "console", "file", "upstash"]
    path: Name | None = None


class Logger(Section):
    """What is logged, and where to."""

    level: Literal["debug", "info", "warn", "error", "silly"] = "error"
    transports: Annotated[list[Transport], Field(min_length=1)] = [Transport(type="console")]


class TelemetryExport(OpenSection):
    """Where traces go."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["otlp", "console"]
    protocol: Literal["grpc", "http"] | None = None
    endpoint: str | None = None
    headers: dict[str, str] | None = None


class Telemetry(OpenSection):
    """Traces and metrics; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore")

    enabled: bool | None = None
    service_name: str | None = None
    tracer_name: str | None = None
    export: TelemetryExport | None = None


class FilesystemResources(Section):
    """Files that the agent may read."""

    type: Literal["filesystem"]
    paths: Annotated[list[Name], Field(min_length=1)]
    max_depth: Annotated[int, Field(ge=1, le=10)] = 3
    max_files: Annotated[int, Field(ge=1, le=10_000)] = 1000
    include_hidden: bool = False
    include_extensions: list[str] | None = None


class BlobResources(Section):
    """Stored files that the agent may read."""

    type: Literal["blob"]


AnyResources = Annotated[FilesystemResources | BlobResources, Field(discriminator="type")]

KebabCase = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class InlinePrompt(Section):
    """A prompt to start with."""

    type: Literal["inline"]
    id: KebabCase
    prompt: Name
    title: str | None = None
    description: str = ""
    category: str = "general"
    priority: int = 0
    show_in_starters: bool = False
    user_invocable: bool = Field(default=True, alias="user-invocable")
    disable_model_invocation: bool | None = Field(default=None, alias="disable-model-invocation")
    allowed_tools: list[str] | None = Field(default=None, alias="allowed-tools")
    toolkits: list[str] | None = None
    model: str | None = None
    context: str | None = None
    agent: str | None = None


class FilePrompt(Section):
    """A prompt in a file of its own."""

    type: Literal["file"]
    file: Name
    show_in_starters: bool = False
    user_invocable: bool | None = Field(default=None, alias="user-invocable")
    disable_model_invocation: bool | None = Field(default=None, alias="disable-model-invocation")
    allowed_tools: list[str] | None = Field(default=None, alias="allowed-tools")
    toolkits: list[str] | None = None
    model: str | None = None
    context: str | None = None
    agent: str | None = None
    namespace: str | None = None


AnyPrompt = Annotated[InlinePrompt | FilePrompt, Field(discriminator="type")]


class Compaction(OpenSection):
    """When a long history is made shorter."""

    type: Name = "reactive-overflow"
    enabled: bool = True
    threshold_percent: Annotated[float, Field(ge=0.1, le=1)] = 0.9
    max_context_tokens: Count | None = None


class Ours(Section):
    """What only Sojourn knows."""

    #: How long a call waits for a place in memory, milliseconds.
    admission_wait: Annotated[int, Field(ge=0, strict=True)] = 10_000
    #: How long running turns get when the runtime closes, milliseconds.
    close_wait: Annotated[int, Field(ge=0, strict=True)] = 5_000
    #: What a message for a busy session does where its sender does not say.
    busy: Literal["queue", "reject"] = "queue"
    #: What becomes of a turn whose process died.
    on_interrupt: Literal["resume", "hold"] = "resume"
    #: How often a request to the model is made again after a passing failure.
    model_retries: Annotated[int, Field(ge=0, le=10, strict=True)] = 3


class AgentConfig(Section):
    """A whole agent.yml, with every default filled in."""

    system_prompt: SystemPrompt
    llm: LLM
    agent_id: Name | None = None
    agent_card: AgentCard | None = None
    agent_file: AgentFile = AgentFile()
    image: str | None = None
    greeting: Annotated[str, Field(max_length=500)] | None = None
    mcp_servers: dict[str, AnyServer] = {}
    tools: list[Typed] | None = None
    permissions: Permissions = Permissions()
    elicitation: Elicitation = Elicitation()
    storage: Storage = Storage()
    sessions: Sessions = Sessions()
    logger: Logger = Logger()
    telemetry: Telemetry | None = None
    memories: Memories | None = None
    resources: list[AnyResources] = []
    prompts: list[AnyPrompt] = []
    hooks: list[Typed] | None = None
    compaction: Compaction = Compaction()
    sojourn: Ours = Ours()
