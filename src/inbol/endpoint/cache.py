"""Every answer by the hash of all that was asked, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from inbol.endpoint.reply import Reply
from inbol.shards.files import write_text


class AnswerCache:
    """A folder of answers, one small file each; processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Reply | None:
        """The answer, or None: never asked, or a file that is damaged."""
        try:
            return Reply.from_json(json.loads(self._path(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, reply: Reply) -> None:
        """Keep an answer."""
        write_text(self._path(key), json.dumps(reply.to_json(), sort_keys=True) + "\n")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def content_key(base_url: str, body: dict[str, Any], nonce: str = "") -> str:
    """SHA-256 of the address and of all that is sent, pictures included; `nonce` tells repeated draws apart."""
    return hashlib.sha256(json.dumps([base_url, body, nonce], sort_keys=True).encode()).hexdigest()
