"""Thin skins over client/, nothing else: what people and programs see and press."""
