"""From a recipe's name to finished stage folders: the only code that composes configuration and starts processes."""
