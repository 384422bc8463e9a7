"""Certificates and device attestation. Spec: Matter Core 1.3 chapter 6."""
