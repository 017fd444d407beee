"""An S3 that checks signatures: moto in a process of its own, with one user who may do everything and one who may do nothing.

moto holds off its checks until the users are made, and is strict from then on.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

import botocore.session
from botocore.config import Config

PAGE = 20
"""Objects in one page of a listing."""
_ALLOW = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


@dataclass
class MotoServer:
    """``with MotoServer() as server: server.url, server.keys``."""

    url: str = ""
    keys: tuple[str, str] = ("", "")
    """Id and secret of the user who may do everything."""
    powerless: tuple[str, str] = ("", "")
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000", "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._make_users()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def client(self, service: str = "s3") -> Any:
        """botocore's own client, with the rights of the first user."""
        key_id, secret = self.keys if self.keys[0] else ("first", "first")
        if (service, key_id) not in self._clients:
            self._clients[service, key_id] = self._made_client(service, key_id, secret)
        return self._clients[service, key_id]

    def _made_client(self, service: str, key_id: str, secret: str) -> Any:
        return botocore.session.Session(profile=None).create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}),
        )

    def _make_users(self) -> None:
        self._wait()
        self.keys = self._user("reader", _ALLOW)
        self.powerless = self._user("nobody", None)
        with urlopen(Request(f"{self.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}), timeout=10) as answer:
            assert answer.status == 200

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"{self.url}/moto-api/", timeout=5):
                    return
            except (URLError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def _user(self, name: str, policy: str | None) -> tuple[str, str]:
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if policy is not None:
            iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]
