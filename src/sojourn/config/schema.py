"""The sections of an agent.yml, as they are written: what is allowed in each, and what holds where nothing is said.

Keys are camelCase in the file and snake_case here. Unknown keys are errors; only entries of `tools`, `hooks` and a
storage's own settings are open, because what they hold depends on their `type`. What may be a secret is not in a repr.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from sojourn.config.values import (
    LARGEST,
    URL,
    Allowed,
    Bool,
    Count,
    KebabCase,
    Name,
    OpenSection,
    Section,
    StrictCount,
    Whole,
)

Provider = Literal[
    "openai", "openai-compatible", "anthropic", "google", "groq", "xai", "cohere", "openrouter", "litellm", "glama",
    "vertex", "bedrock",
]  # fmt: skip

PROVIDERS: tuple[Provider, ...] = get_args(Provider)


# -- the model


class Reasoning(Section):
    """How much the model thinks before it answers."""

    variant: Name | None = None
    budget_tokens: Count | None = None


class LLM(Section):
    """The model and how it is asked."""

    provider: Provider
    model: Name
    api_key: str | None = Field(default=None, repr=False)
    base_url: URL | None = Field(default=None, alias="baseURL", repr=False)
    #: Requests to the model in one turn.
    max_iterations: Count = 50
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=1, strict=True), Allowed("a number from 0 to 1")] | None = None
    allowed_media_types: list[Name] | None = None
    reasoning: Reasoning | None = None


class Contributor(Section):
    """One piece of the system prompt; pieces are put together by priority, the lowest first."""

    id: Name
    priority: Whole
    enabled: Bool = True


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

    include_filenames: Bool = True
    separator: str = "\n\n---\n\n"
    error_handling: Literal["skip", "error"] = "skip"
    max_file_size: StrictCount = 100_000
    include_metadata: Bool = False


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

    enabled: Bool = True
    #: Milliseconds.
    timeout: Count = 30_000
    connection_mode: Literal["lenient", "strict"] = "lenient"


class StdioServer(MCPServer):
    """A child process."""

    type: Literal["stdio"]
    command: Name = Field(repr=False)
    args: list[str] = Field(default=[], repr=False)
    env: dict[str, str] = Field(default={}, repr=False)


class SSEServer(MCPServer):
    """A server over HTTP with server-sent events, the older kind."""

    type: Literal["sse"]
    url: URL = Field(repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)


class HTTPServer(MCPServer):
    """A server over streamable HTTP."""

    type: Literal["http"]
    url: URL = Field(repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)


AnyServer = Annotated[StdioServer | SSEServer | HTTPServer, Field(discriminator="type")]


class ToolPolicies(Section):
    """Which tools need no question."""

    always_allow: list[Name] = Field(default=[])


class Permissions(Section):
    """Who decides whether a tool may run."""

    mode: Literal["manual", "auto-approve"] = "manual"
    #: Milliseconds; None: a question waits for ever.
    timeout: Count | None = None
    allowed_tools_storage: Literal["memory", "storage"] = "storage"
    tool_policies: ToolPolicies = ToolPolicies()


class Elicitation(Section):
    """Whether tools may ask the person something."""

    enabled: Bool = False
    timeout: Count | None = None


class Typed(OpenSection):
    """An entry whose settings depend on its type."""

    type: Name
    enabled: Bool | None = None


# -- storage, sessions


class Backend(OpenSection):
    """A place to keep something."""

    type: Name


class Database(OpenSection):
    """Where sessions are kept."""

    type: Literal["in-memory", "sqlite", "postgres"]
    path: Name | None = None
    url: str | None = Field(default=None, repr=False)
    connection_string: str | None = Field(default=None, repr=False)


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


class AgentCard(Section):
    """The agent as others see it (A2A)."""

    name: Name
    description: Name
    url: URL = Field(repr=False)
    version: Name
    protocol_version: Name = "0.3.0"
    provider: dict[str, Any] | None = Field(default=None, repr=False)
    icon_url: str | None = Field(default=None, repr=False)
    documentation_url: str | None = Field(default=None, repr=False)
    preferred_transport: str | None = None
    additional_interfaces: list[dict[str, Any]] | None = Field(default=None, repr=False)
    capabilities: dict[str, Any] = Field(default={}, repr=False)
    default_input_modes: list[str] = Field(default=[])
    default_output_modes: list[str] = Field(default=[])
    skills: list[dict[str, Any]] = Field(default=[], repr=False)
    security_schemes: dict[str, Any] | None = Field(default=None, repr=False)
    security: list[dict[str, Any]] | None = Field(default=None, repr=False)
    supports_authenticated_extended_card: Bool | None = None
    signatures: list[dict[str, Any]] | None = Field(default=None, repr=False)
    metadata: dict[str, Any] | None = Field(default=None, repr=False)


class Memories(Section):
    """What the agent remembers over conversations."""

    enabled: Bool = False
    priority: Whole = 40
    include_timestamps: Bool = False
    include_tags: Bool = True
    limit: StrictCount | None = None
    pinned_only: Bool = False


class AgentFile(Section):
    """Whether instructions of the project's folder are found by themselves."""

    discover_in_cwd: Bool = True


class Transport(OpenSection):
    """Where log lines go."""

    type: Literal["silent", "console", "file", "upstash"]
    path: Name | None = None


class Logger(Section):
    """What is logged, and where to."""

    level: Literal["debug", "info", "warn", "error", "silly"] = "error"
    transports: Annotated[list[Transport], Field(min_length=1)] = Field(default=[Transport(type="console")])


class TelemetryExport(OpenSection):
    """Where traces go."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["otlp", "console"]
    protocol: Literal["grpc", "http"] | None = None
    endpoint: str | None = Field(default=None, repr=False)
    headers: dict[str, str] | None = Field(default=None, repr=False)


class Telemetry(OpenSection):
    """Traces and metrics; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore")

    enabled: Bool | None = None
    service_name: str | None = None
    tracer_name: str | None = None
    export: TelemetryExport | None = None


class FilesystemResources(Section):
    """Files that the agent may read."""

    type: Literal["filesystem"]
    paths: Annotated[list[Name], Field(min_length=1)]
    max_depth: Annotated[int, Field(ge=1, le=10, strict=True), Allowed("a whole number from 1 to 10")] = 3
    max_files: Annotated[int, Field(ge=1, le=10_000, strict=True), Allowed("a whole number from 1 to 10000")] = 1000
    include_hidden: Bool = False
    include_extensions: list[str] | None = None


class BlobResources(Section):
    """Stored files that the agent may read."""

    type: Literal["blob"]


AnyResources = Annotated[FilesystemResources | BlobResources, Field(discriminator="type")]


class InlinePrompt(Section):
    """A prompt to start with."""

    type: Literal["inline"]
    id: KebabCase
    prompt: Name
    title: str | None = None
    description: str = ""
    category: str = "general"
    priority: Annotated[int, Field(ge=-LARGEST, le=LARGEST, strict=True), Allowed("a whole number")] = 0
    show_in_starters: Bool = False
    user_invocable: Bool = Field(default=True, alias="user-invocable")
    disable_model_invocation: Bool | None = Field(default=None, alias="disable-model-invocation")
    allowed_tools: list[str] | None = Field(default=None, alias="allowed-tools")
    toolkits: list[str] | None = None
    model: str | None = None
    context: str | None = None
    agent: str | None = None


class FilePrompt(Section):
    """A prompt in a file of its own."""

    type: Literal["file"]
    file: Name
    show_in_starters: Bool = False
    user_invocable: Bool | None = Field(default=None, alias="user-invocable")
    disable_model_invocation: Bool | None = Field(default=None, alias="disable-model-invocation")
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
    enabled: Bool = True
    threshold_percent: Annotated[float, Field(ge=0.1, le=1, strict=True), Allowed("a number from 0.1 to 1")] = 0.9
    max_context_tokens: StrictCount | None = None


class ToolTraits(Section):
    """What is known of a tool that the tool itself cannot be trusted to say."""

    #: Whether running it twice does what running it once does: then it is run again after a crash inside it.
    idempotent: Bool = False


class Ours(Section):
    """What only Sojourn knows."""

    #: How long a call waits for a place in memory, milliseconds.
    admission_wait: Whole = 10_000
    #: How long running turns get when the runtime closes, milliseconds.
    close_wait: Whole = 5_000
    #: What a message for a busy session does where its sender does not say.
    busy: Literal["queue", "reject", "steer", "interrupt"] = "queue"
    #: How many inputs may be in line or held in one session before steers and follow-ups are refused.
    max_inbox: StrictCount = 100
    #: What becomes of a turn whose process died.
    on_interrupt: Literal["resume", "hold"] = "resume"
    #: How often a request to the model is made again after a passing failure.
    model_retries: Annotated[int, Field(ge=0, le=10, strict=True), Allowed("a whole number from 0 to 10")] = 3
    #: The keys of providers that a session may switch to, by the provider.
    keys: dict[str, str] = Field(default={}, repr=False)
    #: By a tool's name, as in `permissions.toolPolicies.alwaysAllow`.
    tools: dict[str, ToolTraits] = Field(default={})


class AgentConfig(Section):
    """A whole agent.yml, with every default filled in."""

    system_prompt: Annotated[SystemPrompt, Allowed("a text, or a mapping with contributors")]
    llm: LLM
    agent_id: Name | None = None
    agent_card: AgentCard | None = None
    agent_file: AgentFile = AgentFile()
    image: str | None = None
    greeting: Annotated[str, Field(max_length=500), Allowed("a text of at most 500 characters")] | None = None
    mcp_servers: dict[str, AnyServer] = Field(default={})
    tools: list[Typed] | None = None
    permissions: Permissions = Permissions()
    elicitation: Elicitation = Elicitation()
    storage: Storage = Storage()
    sessions: Sessions = Sessions()
    logger: Logger = Logger()
    telemetry: Telemetry | None = None
    memories: Memories | None = None
    resources: list[AnyResources] = Field(default=[])
    prompts: list[AnyPrompt] = Field(default=[])
    hooks: list[Typed] | None = None
    compaction: Compaction = Compaction()
    sojourn: Ours = Ours()
