"""Recipes that teach vision-language models when to answer and when to refuse; `contracts` is the place to start reading."""
