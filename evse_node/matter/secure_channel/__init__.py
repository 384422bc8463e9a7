"""Session establishment: PASE and CASE. Spec: Matter Core 1.3 chapter 4."""
