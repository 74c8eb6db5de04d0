"""The command line: one module per command group; nothing here imports torch at load time."""
