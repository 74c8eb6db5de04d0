"""Typed records and one small reader per public format."""
