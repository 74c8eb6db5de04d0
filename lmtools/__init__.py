"""lmtools: align language models and build retrieval on them with little supervision."""

__version__ = "0.1.0"
