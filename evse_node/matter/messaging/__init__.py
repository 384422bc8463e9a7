"""Messages, sessions and exchanges. Spec: Matter Core 1.3 chapter 4."""
