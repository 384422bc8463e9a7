"""The interaction model. Spec: Matter Core 1.3, chapters 8 and 10."""
