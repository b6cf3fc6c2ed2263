"""A local page that asks a checkpoint and its base the same question: what is asked (`find`, `examples`, `ask`), and what is shown."""
