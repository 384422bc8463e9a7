"""Matter Core: the protocol stack, sans-IO. Knows only itself."""
