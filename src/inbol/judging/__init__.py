"""Judges: prompts, strict reading of their answers, and their agreement with the rules."""
