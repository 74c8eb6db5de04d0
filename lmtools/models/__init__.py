"""A name becomes a loaded model and tokenizer; the built-in models; adapters."""
