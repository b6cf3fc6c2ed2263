"""Encoded bytes of a shard's image member to pixels: `inbol.sources.images`, under the name that readers of shards look for."""

from __future__ import annotations

from inbol.sources.images import IMAGE_FORMATS, MAX_PIXELS, decode_image, probe_image, shrink

__all__ = ["IMAGE_FORMATS", "MAX_PIXELS", "decode_image", "probe_image", "shrink"]
