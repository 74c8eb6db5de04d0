"""The Generator protocol and its backends."""
