"""Matter Core: the protocol stack, sans-IO. Imports no other package but `units` and `errors`."""
