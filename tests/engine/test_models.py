"""The models of all providers: made from the configuration alone, whatever the process has in its environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import AgentRunError, ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

from sojourn.config.schema import LLM, PROVIDERS
from sojourn.engine.failures import passing_failure
from sojourn.engine.models import build_model, model_settings
from sojourn.errors import AgentUnsupported, InvalidInput
from tests.engine.wire_server import Reply, WireServer, error, make_certificate, running

TRAP = "trap-of-the-environment"
TRAP_URL = f"http://{TRAP}.invalid"

#: What providers' libraries look for by themselves.
KEYS = [
    "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET",
    "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_WEBHOOK_SIGNING_KEY",
    "GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS", "GROQ_API_KEY", "CO_API_KEY", "XAI_API_KEY", "XAI_MANAGEMENT_KEY",
    "OPENROUTER_API_KEY", "OPENROUTER_APP_TITLE", "LITELLM_API_KEY", "GLAMA_API_KEY", "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
]  # fmt: skip
URLS = [
    "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL", "GROQ_BASE_URL",
    "CO_API_URL", "CO_BASE_URL", "OPENROUTER_APP_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
]  # fmt: skip
HEADERS = ["OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS", "GROQ_CUSTOM_HEADERS"]
OTHERS = {
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_MAX_ATTEMPTS": "7",
    "AWS_RETRY_MODE": "adaptive",
}

MODELS = {
    "anthropic": "claude-opus-5",
    "bedrock": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "command-a-03-2025",
    "google": "gemini-2.5-flash",
    "openrouter": "openai/gpt-5",
    "vertex": "gemini-2.5-flash",
    "xai": "grok-4",
}
#: Those that need an address.
HOMELESS = {"openai-compatible", "litellm"}
ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "groq": "https://api.groq.com",
    "cohere": "https://api.cohere.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "glama": "https://gateway.glama.ai/v1",
    "vertex": "https://aiplatform.googleapis.com",
    "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com",
}

KEY = "key-of-the-file"


@pytest.fixture(params=["bare", "misleading"])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    misleading = {
        **dict.fromkeys(KEYS, TRAP),
        **dict.fromkeys(URLS, TRAP_URL),
        **dict.fromkeys(HEADERS, f"X-Trap: {TRAP}\nAuthorization: {TRAP}"),
        **OTHERS,
    }
    for name, value in misleading.items():
        if request.param == "bare":
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return str(request.param)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with running() as server:
        yield server


def described(provider: str, **more: Any) -> LLM:
    if provider in HOMELESS:
        more = {"baseURL": "http://127.0.0.1:1/v1", **more}
    return LLM.model_validate({"provider": provider, "model": MODELS.get(provider, "gpt-5"), "apiKey": KEY, **more})


async def fail(model: Model[Any]) -> AgentRunError:
    """The error of one request to a server that refuses it."""
    async with model:
        with pytest.raises(AgentRunError) as caught:
            await Agent(model).run("Hello")
    return caught.value


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.usefixtures("environment")
async def test_every_provider_asks_where_it_should(provider: str) -> None:
    model = build_model(described(provider))
    async with model:
        if provider in ADDRESSES:
            assert str(model.base_url).rstrip("/") == ADDRESSES[provider]
        assert TRAP not in repr(vars(model)) + str(model.base_url)


#: Those that are asked over HTTP with nothing but a key.
PLAIN = [provider for provider in PROVIDERS if provider not in {"xai", "bedrock"}]


@pytest.mark.parametrize("provider", PLAIN)
@pytest.mark.usefixtures("environment")
async def test_a_request_holds_the_files_key_and_nothing_of_the_environment(provider: str, server: WireServer) -> None:
    server.says(error(401))
    failure = await fail(build_model(described(provider, baseURL=server.url)))
    assert isinstance(failure, ModelHTTPError)
    assert failure.status_code == 401
    assert passing_failure(failure) is None
    (request,) = server.requests
    assert TRAP not in str(request)
    assert any(KEY in value for value in request.headers.values())
    assert KEY not in str(failure)


@pytest.mark.parametrize("provider", PLAIN)
async def test_no_library_tries_again_by_itself(provider: str, server: WireServer) -> None:
    server.says(error(500))
    failure = await fail(build_model(described(provider, baseURL=server.url)))
    assert len(server.requests) == 1
    assert passing_failure(failure) is not None
    await server.disconnected()


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "groq", "cohere"])
async def test_a_certificate_that_nobody_trusts_stays_so(provider: str, tmp_path: Path) -> None:
    async with running(make_certificate(tmp_path / "wire.pem")) as server:
        failure = await fail(build_model(described(provider, baseURL=server.url)))
    assert passing_failure(failure) is None
    assert not server.requests


@pytest.mark.usefixtures("environment")
async def test_a_key_of_bedrock_is_sent_over_tls_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path / "wire.pem")
    async with running(certificate) as server:
        server.says(error(500))
        untrusted = await fail(build_model(described("bedrock", baseURL=server.url)))
        assert passing_failure(untrusted) is None
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        failure = await fail(build_model(described("bedrock", baseURL=server.url)))
    assert passing_failure(failure) is not None
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert TRAP not in str(request)
    with pytest.raises(InvalidInput, match=r"llm\.baseURL.*only sent encrypted"):
        build_model(described("bedrock", baseURL="http://127.0.0.1:1"))


@pytest.mark.usefixtures("environment")
async def test_amazons_access_keys_sign_for_the_region_of_the_address(server: WireServer) -> None:
    server.says(error(500))
    key = "AKIAIOSFODNN7EXAMPLE:hidden-secret:session-token"
    await fail(build_model(described("bedrock", apiKey=key, baseURL=server.url)))
    (request,) = server.requests
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in request.headers["authorization"]
    assert "/us-east-1/bedrock/" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == "session-token"
    assert TRAP not in str(request)
    assert "hidden-secret" not in str(request)
    elsewhere = build_model(described("bedrock", baseURL="https://bedrock-runtime.eu-central-1.amazonaws.com"))
    assert elsewhere.provider is not None
    assert elsewhere.provider.client.meta.region_name == "eu-central-1"


def service_account(token_url: str) -> str:
    import json

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key": pem.decode(),
        "client_email": "me@my-project.example",
        "token_uri": token_url,
    }
    return json.dumps(account)


@pytest.mark.usefixtures("environment")
async def test_a_service_account_of_google_cloud_names_the_project(server: WireServer) -> None:
    token = Reply(body=b'{"access_token": "granted", "expires_in": 3600, "token_type": "Bearer"}')
    server.says(token, error(404))
    key = service_account(f"{server.url}/token")
    await fail(build_model(described("vertex", apiKey=key, baseURL=server.url)))
    asked, request = server.requests
    assert asked.path == "/token"
    assert "/projects/my-project/locations/global/" in request.path
    assert request.headers["authorization"] == "Bearer granted"
    assert TRAP not in str(request)


def test_a_broken_service_account_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput, match=r"llm\.apiKey.*service account") as caught:
        build_model(described("vertex", apiKey='{"private_key": "hidden"}'))
    assert "hidden" not in str(caught.value)


@pytest.mark.usefixtures("environment")
async def test_xai_is_asked_over_grpc_with_the_files_key() -> None:
    grpc = pytest.importorskip("grpc")
    calls: list[dict[str, Any]] = []

    class Handler:
        def service(self, details: Any) -> Any:
            calls.append({key: str(value) for key, value in details.invocation_metadata})

            async def refuse(_request: Any, context: Any) -> None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        failure = await fail(build_model(described("xai", baseURL=f"http://127.0.0.1:{port}")))
    finally:
        await server.stop(None)
    (call,) = calls
    assert call["authorization"] == f"Bearer {KEY}"
    assert TRAP not in str(call)
    assert passing_failure(failure) is not None


@pytest.mark.parametrize("provider", [provider for provider in PROVIDERS if provider not in HOMELESS])
@pytest.mark.parametrize("key", [None, "", "  "], ids=["none", "empty", "blank"])
@pytest.mark.usefixtures("environment")
def test_a_missing_key_is_named_with_what_to_write(provider: str, key: str | None) -> None:
    with pytest.raises(InvalidInput, match=rf"llm\.apiKey: found .*{provider}, for example \$[A-Z]"):
        build_model(described(provider, apiKey=key))


@pytest.mark.parametrize("provider", sorted(HOMELESS))
@pytest.mark.usefixtures("environment")
async def test_servers_of_ones_own_need_an_address_and_no_key(provider: str, server: WireServer) -> None:
    server.says(error(400))
    await fail(build_model(described(provider, baseURL=server.url, apiKey=None)))
    assert server.requests[0].headers["authorization"] == "Bearer no-key"
    with pytest.raises(InvalidInput, match=r"llm\.baseURL: found None, expected the address"):
        build_model(described(provider, baseURL=None))


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput, match=r"llm\.apiKey") as caught:
        build_model(described("openai", apiKey="hidden\nkey"))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (None, OpenAIResponsesModel),
        ("https://eu.api.openai.com/v1", OpenAIResponsesModel),
        ("https://api.openai.com.example/v1", OpenAIChatModel),
        ("http://127.0.0.1:8080/v1", OpenAIChatModel),
    ],
)
def test_openai_itself_is_asked_for_responses_and_others_for_chat_completions(
    url: str | None, kind: type[Model[Any]]
) -> None:
    assert type(build_model(described("openai", baseURL=url))) is kind


def extras() -> list[Any]:
    return [
        pytest.param(provider, extra, library, id=provider)
        for provider, extra, library in [
            ("anthropic", "anthropic", "anthropic"),
            ("google", "google", "google.genai"),
            ("vertex", "google", "google.genai"),
            ("groq", "groq", "groq"),
            ("cohere", "cohere", "cohere"),
            ("bedrock", "bedrock", "botocore.session"),
            ("xai", "xai", "xai_sdk"),
        ]
    ]


@pytest.mark.parametrize(("provider", "extra", "library"), extras())
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    provider: str, extra: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sojourn.engine.providers.{extra}", raising=False)
    with pytest.raises(AgentUnsupported, match=rf"{provider} .*pip install 'sojourn\[{extra}\]'"):
        build_model(described(provider))


def test_only_the_library_of_the_provider_is_imported() -> None:
    script = (
        "import sys\n"
        "from sojourn.config.schema import LLM\n"
        "from sojourn.engine.models import build_model\n"
        "assert 'openai' not in sys.modules\n"
        "build_model(LLM(provider='openai', model='gpt-5', apiKey='x'))\n"
        "print({'anthropic', 'google.genai', 'groq', 'cohere', 'boto3', 'xai_sdk'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_what_is_said_of_the_answer_is_in_the_models_settings() -> None:
    llm = described("anthropic", temperature=0.25, maxOutputTokens=500)
    assert model_settings(llm) == {"temperature": 0.25, "max_tokens": 500}
    assert build_model(llm).settings == model_settings(llm)
    assert model_settings(described("groq")) == {}
    assert model_settings(described("openai")) == {"openai_store": False}


@pytest.mark.parametrize(
    ("variant", "thinking"),
    [("none", False), ("disabled", False), ("enabled", True), ("low", "low"), ("xhigh", "xhigh"), ("default", None)],
)
def test_the_variant_of_reasoning_is_said_in_one_way_for_all(variant: str, thinking: object) -> None:
    assert model_settings(described("xai", reasoning={"variant": variant})).get("thinking") == thinking


@pytest.mark.parametrize(
    ("provider", "setting"),
    [
        ("anthropic", {"anthropic_thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("google", {"google_thinking_config": {"thinking_budget": 2048, "include_thoughts": True}}),
        ("vertex", {"google_thinking_config": {"thinking_budget": 2048, "include_thoughts": True}}),
        ("openrouter", {"openrouter_reasoning": {"max_tokens": 2048}}),
        (
            "bedrock",
            {"bedrock_additional_model_requests_fields": {"thinking": {"type": "enabled", "budget_tokens": 2048}}},
        ),
    ],
)
def test_a_budget_of_reasoning_is_said_as_the_provider_has_it(provider: str, setting: dict[str, Any]) -> None:
    assert model_settings(described(provider, reasoning={"budgetTokens": 2048})) == setting


@pytest.mark.parametrize(
    ("provider", "reasoning", "what"),
    [
        ("openai", {"budgetTokens": 2048}, r"llm\.reasoning\.budgetTokens.*openai has none"),
        ("anthropic", {"variant": "none", "budgetTokens": 2048}, r"llm\.reasoning\.budgetTokens.*turns reasoning off"),
        ("groq", {"variant": "much"}, r"llm\.reasoning\.variant: found 'much', expected one of default, disabled"),
    ],
)
def test_reasoning_that_cannot_be_asked_for_is_refused(provider: str, reasoning: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        build_model(described(provider, reasoning=reasoning))


@pytest.mark.parametrize("provider", PLAIN)
async def test_a_model_that_was_left_has_hung_up_and_can_be_entered_again(provider: str, server: WireServer) -> None:
    server.says(error(401))
    model = build_model(described(provider, baseURL=server.url))
    await fail(model)
    await server.disconnected()
    await fail(model)
    await server.disconnected()
    assert len(server.requests) == server.accepted == 2


@pytest.mark.parametrize("provider", PLAIN)
def test_connecting_takes_seconds_and_answering_minutes(provider: str) -> None:
    model = build_model(described(provider))
    assert model.provider is not None
    pool: Any = model.provider._own_http_client
    assert (pool.timeout.connect, pool.timeout.read) == (5, 600)
    library: Any = model.provider.client
    if provider in {"openai", "anthropic", "groq"}:
        assert (library.timeout.connect, library.timeout.read) == (5, 600)
