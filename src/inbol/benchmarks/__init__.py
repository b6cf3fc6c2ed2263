"""Benchmarks of the field: each reads its released files as they are, shows what a model is asked, grades responses and measures."""
