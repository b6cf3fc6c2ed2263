"""Asking an OpenAI-compatible server: limits, retries, costs and a memory of every answer."""
