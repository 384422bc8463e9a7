"""Test support for users' projects and for this one."""
