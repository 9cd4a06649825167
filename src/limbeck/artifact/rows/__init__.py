"""Rows that come in: files, tables and lines as their user has them, to what an artifact reads."""
