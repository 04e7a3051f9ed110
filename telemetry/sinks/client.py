"""An InfluxDB over HTTP: /api/v2/write of 1.8 and later, /write of those before. Each call has an end."""

import gzip
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from django.utils import timezone
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError

from devices import secrets
from devices.errors import ConfigurationError
from telemetry.models import Sink
from telemetry.sinks.outcome import Outcome, Verdict, judged, words_of

PATIENCE = (3.0, 10.0)  # seconds: to connect, and for each part of the answer
ANSWER_MOST = 65_536  # bytes that are read of it
COMMENT = "# a test of the connection"  # a line that stores nothing
LEVEL = 1  # of compression
VERSIONS = ("X-Influxdb-Version", "X-Influxdb-Build")


class Authorization(AuthBase):
    """This header or none: with it, requests looks into no .netrc."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._words:
            request.headers["Authorization"] = self._words
        return request


class Client:
    """One sink's server. Raises ConfigurationError if the sink's secret is not to be had, else nothing."""

    def __init__(self, sink: Sink, environment: Mapping[str, str] = os.environ) -> None:
        self._base = sink.url.rstrip("/")
        self._host = urlsplit(sink.url).netloc
        self._database = sink.bucket
        self._gzip = sink.gzip
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "Labsite"
        word = _secret(sink, environment)
        if sink.api == Sink.Api.V1:
            self._path, self._params = "/write", {"db": sink.bucket}
            if sink.user:
                self._session.auth = HTTPBasicAuth(sink.user.encode(), word.encode())
            else:
                self._session.auth = Authorization("")
        else:
            self._path = "/api/v2/write"
            self._params = {"org": sink.org, "bucket": sink.bucket, "precision": "ns"}
            self._session.auth = Authorization(f"Token {word}" if word else "")

    def write(self, lines: Sequence[str]) -> Outcome:
        """Write points, with times in ns."""
        body = "\n".join(lines).encode()
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._gzip:
            body = gzip.compress(body, LEVEL)
            headers["Content-Encoding"] = "gzip"
        return self._post(self._path, self._params, body, headers)[0]

    def make_database(self) -> Outcome:
        """Make the database, if the server is of before 1.8 and has it not yet."""
        name = self._database.replace("\\", r"\\").replace('"', r"\"")
        return self._post("/query", {}, {"q": f'CREATE DATABASE "{name}"'}, {})[0]

    def test(self) -> tuple[Outcome, str]:
        """Whether points could be written, without writing any; and which server it is, if it says so."""
        return self._post(self._path, self._params, COMMENT.encode(), {"Content-Type": "text/plain"})

    def close(self) -> None:
        self._session.close()

    def _post(
        self,
        path: str,
        params: Mapping[str, str],
        body: bytes | dict[str, str],
        headers: Mapping[str, str],
    ) -> tuple[Outcome, str]:
        try:
            answer = self._session.post(
                self._base + path,
                body,
                params=params,
                headers=dict(headers),
                timeout=PATIENCE,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                said = answer.raw.read(ANSWER_MOST, decode_content=True)
        except (requests.RequestException, HTTPError, OSError) as error:
            return Outcome(Verdict.KEPT, self._not_reached(error)), ""
        words = words_of(said, answer.headers.get("X-Influxdb-Error", ""))
        version = next((answer.headers[name] for name in VERSIONS if name in answer.headers), "")
        after = answer.headers.get("Retry-After", "")
        return judged(answer.status_code, words, after, timezone.now()), version

    def _not_reached(self, error: Exception) -> str:
        """In our own words: those of the libraries are long, and hold addresses."""
        reason: Any = error.args[0] if error.args else None
        cause = reason.reason if isinstance(reason, MaxRetryError) else reason
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self._host}: no TLS that can be trusted"
        if isinstance(cause, NewConnectionError | ConnectTimeoutError):
            return f"{self._host} cannot be reached"
        if isinstance(error, requests.Timeout | TimeoutError):
            return f"no answer of {self._host} within {PATIENCE[1]:g} s"
        return f"{self._host} broke off"


def _secret(sink: Sink, environment: Mapping[str, str]) -> str:
    """The word behind the sink's secret, if it names one and its host may be given it."""
    if not sink.secret:
        return ""
    variable = f"LABSITE_SECRET_{sink.secret}_HOSTS"
    allowed = environment.get(variable, "").replace(",", " ").lower().split()
    host = urlsplit(sink.url).hostname
    if allowed and host not in allowed:
        raise ConfigurationError(f"secret {sink.secret} is not for {host}: {variable} lists other hosts")
    return secrets.of(sink.secret, environment)
