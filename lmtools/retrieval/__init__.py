"""The Retriever protocol and its backends."""
