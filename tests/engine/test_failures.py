"""Which failures of a model request may pass, judged on the exceptions that the libraries really raise."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import openai
import pytest
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
)

from sojourn.engine.failures import passing_failure
from sojourn.errors import TurnFailed

REQUEST = httpx2.Request("POST", "https://models.example/v1/chat/completions?key=hidden")


def http(status: int, body: object = None, **headers: str) -> ModelHTTPError:
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return ModelHTTPError(status, "gpt-5", body=body, headers=dashed)


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    """The error, raised from the next, and so on."""
    link = error
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return error


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_a_status_that_may_pass(status: int) -> None:
    passing = passing_failure(http(status))
    assert passing is not None
    assert passing.wait is None
    assert passing.reason.endswith(f"(HTTP {status})")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501, 505])
def test_a_status_that_stays(status: int) -> None:
    assert passing_failure(http(status)) is None


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}, 0.0),
    ],
)
@pytest.mark.parametrize("source", ["pydantic-ai", "library"])
def test_the_wait_that_the_server_asks_for(headers: dict[str, str], wait: float | None, source: str) -> None:
    error: Exception = http(429, **headers)
    if source == "library":
        dashed = {name.replace("_", "-"): value for name, value in headers.items()}
        response = httpx2.Response(429, headers=dashed, request=REQUEST)
        error = openai.RateLimitError("slow down", response=response, body=None)
    passing = passing_failure(error)
    assert passing is not None
    assert passing.wait == wait


def test_a_wait_until_a_date_is_counted_from_now() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    passing = passing_failure(http(503, retry_after=until))
    assert passing is not None
    assert passing.wait is not None
    assert 0 < passing.wait <= 3600


def test_a_server_that_says_not_to_come_back_is_believed() -> None:
    assert passing_failure(http(500, x_should_retry="false")) is None


def no_money() -> list[BaseException]:
    response = httpx2.Response(429, request=REQUEST)
    body = {"code": "insufficient_quota", "message": "You exceeded your current quota", "type": "insufficient_quota"}
    raw = openai.RateLimitError("no", response=response, body=body)
    quota = ModelHTTPError.for_category(ModelQuotaExceededError, status_code=429, model_name="gpt-5")
    return [quota, raw, caused(http(429), raw)]


@pytest.mark.parametrize("error", no_money(), ids=["category", "library", "cause"])
def test_an_account_without_money_is_no_limit_of_a_rate(error: BaseException) -> None:
    assert passing_failure(error) is None


def connection(*causes: BaseException) -> BaseException:
    return caused(ModelConnectionError("gpt-5", "Connection error."), *causes)


@pytest.mark.parametrize(
    "error",
    [
        connection(openai.APIConnectionError(request=REQUEST), httpx2.ConnectError("refused")),
        connection(openai.APITimeoutError(REQUEST), httpx2.ReadTimeout("slow")),
        ModelTimeoutError("gpt-5", "Request timed out."),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx2.PoolTimeout("busy"),
        openai.APIConnectionError(request=REQUEST),
        caused(ModelAPIError("gpt-5", "what?"), httpx2.ReadError("reset")),
        ConnectionResetError("reset"),
        TimeoutError(),
        ExceptionGroup("one", [httpx2.ReadError("reset")]),
        ModelAPIError("gpt-5", "?", in_stream=True),
        ModelUnavailableError("gpt-5", "busy"),
        ModelHTTPError.for_category(ModelUnavailableError, status_code=403, model_name="claude"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_breaks_may_pass(error: BaseException) -> None:
    passing = passing_failure(error)
    assert passing is not None
    assert passing.wait is None


@pytest.mark.parametrize(
    "error",
    [
        connection(httpx2.ConnectError("bad"), ssl.SSLCertVerificationError("self-signed certificate")),
        connection(httpx2.UnsupportedProtocol("no http://")),
        connection(httpx2.LocalProtocolError("Illegal header value")),
        ModelRequestRejectedError("gpt-5", "too long", in_stream=True),
        ModelAPIError("gpt-5", "Expected a JSON response"),
        UnexpectedModelBehavior("no"),
        ValueError("a bug"),
        KeyboardInterrupt(),
        TurnFailed("s", 1, "no"),
        ExceptionGroup("two", [httpx2.ReadError("reset"), ValueError("a bug")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pass(error: BaseException) -> None:
    assert passing_failure(error) is None


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert passing_failure(one) is None


def test_the_sentence_holds_nothing_that_the_provider_sent() -> None:
    body = {"error": {"message": "Rate limit reached for key sk-hidden"}}
    error = ModelHTTPError.for_category(
        ModelRateLimitError, status_code=429, model_name="gpt-5", body=body, headers={"x-key": "hidden"}
    )
    passing = passing_failure(error)
    assert passing is not None
    assert passing.reason == "the model's provider limits requests (HTTP 429)"


def bedrock(code: str, status: int, **headers: str) -> BaseException:
    errors = pytest.importorskip("botocore.exceptions")
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    said = {"Error": {"Code": code, "Message": "hidden"}, "ResponseMetadata": metadata}
    error: BaseException = errors.ClientError(said, "Converse")
    return error


def test_amazons_errors() -> None:
    passing = passing_failure(bedrock("ThrottlingException", 429, **{"retry-after": "2"}))
    assert passing is not None
    assert passing.wait == 2
    assert passing_failure(bedrock("ServiceQuotaExceededException", 429)) is None
    assert passing_failure(bedrock("ValidationException", 400)) is None


def test_googles_and_coheres_errors() -> None:
    errors = pytest.importorskip("google.genai.errors")
    busy = {"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}
    assert passing_failure(errors.ServerError(503, busy)) is not None
    assert passing_failure(errors.ClientError(400, busy)) is None
    cohere = pytest.importorskip("cohere.core.api_error")
    passing = passing_failure(cohere.ApiError(status_code=429, headers={"Retry-After": "4"}))
    assert passing is not None
    assert passing.wait == 4


def test_the_errors_of_grpc() -> None:
    grpc = pytest.importorskip("grpc")

    def error(code: Any) -> BaseException:
        metadata = grpc.aio.Metadata()
        raised: BaseException = grpc.aio.AioRpcError(code, metadata, metadata, "hidden")
        return raised

    assert passing_failure(error(grpc.StatusCode.UNAVAILABLE)) is not None
    assert passing_failure(error(grpc.StatusCode.UNAUTHENTICATED)) is None
