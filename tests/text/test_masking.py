"""What is hidden from configurations, manifests, logs and trackers, and what stays."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from inbol.text.masking import MaskingStream, credentials_in, environment_secrets, mask_text, masked


def test_masked_hides_secrets_at_any_depth_and_keeps_numbers() -> None:
    config: dict[str, Any] = {
        "hf_token": "hf_abc",
        "WANDB_API_KEY": "abc",
        "awsSecretKey": "abc",
        "db": [{"password": "abc", "user": "me"}],
        "credentials": {"who": "abc", "tries": 3},
        "url": "https://me:abc@host/x",
        "empty": {"token": "", "api_key": None},
        "pad_token_id": 0,
        "num_tokens": 12,
        "key": "img-1",
        "anchor_normalise": "tokens",
        "path": Path("a/b"),
        "splits": ("align-train", "test"),
    }
    safe = masked(config)
    assert "abc" not in json.dumps(safe)
    assert safe == {
        "hf_token": "***",
        "WANDB_API_KEY": "***",
        "awsSecretKey": "***",
        "db": [{"password": "***", "user": "me"}],
        "credentials": {"who": "***", "tries": 3},
        "url": "https://***@host/x",
        "empty": {"token": "", "api_key": None},
        "pad_token_id": 0,
        "num_tokens": 12,
        "key": "img-1",
        "anchor_normalise": "tokens",
        "path": "a/b",
        "splits": ["align-train", "test"],
    }
    assert config["hf_token"] == "hf_abc"


def test_secrets_of_the_environment_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("HF_TOKEN", "hf_0123456789"),
        ("SHORT_TOKEN", "abc"),
        ("TOKENIZERS_PARALLELISM", "false-or-true"),
        ("MY_SECRET", "/run/x/y"),
    ):
        monkeypatch.setenv(name, value)
    assert "hf_0123456789" in environment_secrets()
    assert mask_text("Bearer hf_0123456789, abc, false-or-true, /run/x/y") == "Bearer ***, abc, false-or-true, /run/x/y"
    assert masked({"note": ["hf_0123456789"]}) == {"note": ["***"]}
    stream = io.StringIO()
    print("error: hf_0123456789 is wrong", file=MaskingStream(stream))
    assert stream.getvalue() == "error: *** is wrong\n"


def test_signatures_in_addresses_are_hidden() -> None:
    assert mask_text("https://h/a?x=1&X-Amz-Signature=ab12&y=2") == "https://h/a?x=1&X-Amz-Signature=***&y=2"
    assert mask_text("https://h/a?sig=ab12") == "https://h/a?sig=***"
    assert mask_text("https://h/a?signed=no") == "https://h/a?signed=no"


def test_credentials_in_a_configuration_are_found_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    config = {"source": {"path": "s3://me:pw@b/x.tar", "parts": {"a": "b"}}, "notes": ["fine", "0123456789abcdef"]}
    assert credentials_in(config) == ["source.path", "notes[1]"]
    config = {"environment": {"HF_TOKEN": "abc", "NCCL_DEBUG": "INFO"}, "pad_token": 0, "token": ""}
    assert credentials_in(config) == ["environment.HF_TOKEN"]
